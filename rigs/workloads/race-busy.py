# SPDX-License-Identifier: GPL-2.0-only
"""A page is to be moved while its lock is taken: the move is tried again, and waits in the end."""

from toolkit.workload import Bench, race


@race.scene(floors={"holds": 4, "zs_page_migrate": 1}, needs=["MEMORY_FAILURE"], before=(6, 12))
def exercise(bench: Bench) -> None:
    """Hold a scanner that has the lock of a page which another has isolated and goes to move."""
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        with stage.found_by_two() as (scanner, mover):
            scanner.on_to(race.LOOKING)
            waits = mover.has_to_wait(stage.waiting)
        stage.finish()
        bench.check(
            "waited",
            waits,
            expected="the mover waits for the lock",
            seen="it does" if waits else "it gave up",
            because="a page whose lock is taken is tried again, and the last tries wait for it",
        )
        disk.verify("moved")
        disk.check_sound()
