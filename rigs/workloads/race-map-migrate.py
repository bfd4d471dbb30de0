# SPDX-License-Identifier: GPL-2.0-only
"""An object is mapped by a writer: its page is not moved until it is unmapped.

What is written to a page that was moved meanwhile is lost.
"""

from toolkit.workload import Bench, race
from toolkit.workload.race import at


@race.scene(floors={"holds": 8, "bytes_verified": 1, "waits": 2}, needs=["MEMORY_FAILURE"], before=(6, 13))
def exercise(bench: Bench) -> None:
    """Write an object whose page is about to be moved: one of several in it, and one that fills it."""
    with race.stage(bench) as stage:
        with stage.alike(spanning=False) as alike:
            alike.change(0)
            _move_while_written(stage, alike.writes(0))
            alike.refill(behind=0)
            alike.verify()
            bench.checkpoint("verified")
        with stage.disk("random") as disk:
            _move_while_written(stage, disk.command("write", "--mix=random --to=1"))
            disk.verify("huge")
            bench.checkpoint("huge")


def _move_while_written(stage: race.Stage, writes: str) -> None:
    """Have the page moved that this command writes an object to."""
    with stage.held(at("zs_map_object"), by=writes) as writer:
        page = writer.physical(writer.result())
        with stage.held(at("zs_page_migrate"), by=race.soft_offline(page), cpu=race.FREE) as mover:
            mover.waits(at("queued_write_lock_slowpath"))
    stage.finish()
