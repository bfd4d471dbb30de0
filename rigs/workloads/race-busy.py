# SPDX-License-Identifier: GPL-2.0-only
"""A page is to be moved while its lock is taken: the move is tried again, and waits in the end."""

from toolkit.workload import Bench, race
from toolkit.workload.race import at


@race.scene(floors={"holds": 4, "zs_page_migrate": 1}, needs=["MEMORY_FAILURE"], before=(6, 12))
def exercise(bench: Bench) -> None:
    """Hold a scanner that has the lock of a page which another has isolated and goes to move."""
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        pages = stage.page_array()
        with (
            stage.scanning() as (scanner, page),
            stage.held(
                at("zs_page_isolate"), by=race.soft_offline(pages.physical(page)), cpu=race.FREE
            ) as mover,
        ):
            stage.must_be_the_same(page, mover.argument(0))
            mover.on_to(at("migrate_pages"))
            scanner.on_to(race.LOOKING)
            mover.waits(stage.waiting)
        stage.finish()
        bench.check(
            "waited",
            mover.reached,
            expected="the mover waits for the lock",
            seen="it does" if mover.reached else "it gave up",
            because="a page whose lock is taken is tried again, and the last tries wait for it",
        )
        disk.verify("moved")
        disk.check_sound()
