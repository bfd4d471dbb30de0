# SPDX-License-Identifier: GPL-2.0-only
"""A zspage is freed when one of its pages is isolated and about to be locked, to be moved.

Whoever moves it has seen that somebody else has a reference to it, and looks again with the lock.
"""

from toolkit.workload import Bench, race
from toolkit.workload.race import at

# Of movable pages, in the series that move them on a path of their own; else of all pages.
LOCKING = ("movable_trylock(src", "!trylock_page(src)", "folio_trylock(folio)", "folio_trylock(src)")
# Where a series whose pages have a descriptor asks that for the page, before it locks it.
ASKING = ("isolated_page(desc)", *LOCKING)


@race.scene(
    floors={"holds": 4, "zs_page_isolate": 1, "bytes_verified": 1}, needs=["MEMORY_FAILURE"], before=(6, 12)
)
def exercise(bench: Bench) -> None:
    """Free a zspage between the isolation of its page and the move."""
    with race.stage(bench) as stage, stage.alike(spanning=False) as alike:
        for turn, line in enumerate((LOCKING, ASKING)):
            with stage.held(at("zs_map_object"), by=alike.reads(0)) as reader:
                page = reader.physical(reader.result())
            stage.finish()
            with stage.held(at("zs_page_isolate"), by=race.soft_offline(page)) as mover:
                mover.on_to(at("migrate_pages_batch", file="mm/migrate.c", line=line))
                alike.discard_all()
            stage.finish()
            alike.refill()
            alike.verify(f"all-{turn}")
            bench.checkpoint(f"verified-{turn}")
