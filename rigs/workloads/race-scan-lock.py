# SPDX-License-Identifier: GPL-2.0-only
"""A scanner has a reference to a page of a zspage, not its lock: it is freed, and used again."""

from toolkit.workload import Bench, race

# So often, for a page that stays is told from one that somebody else got by there being more of them.
TURNS = 4


@race.scene(floors={"holds": 2 * TURNS, "bytes_verified": 1}, before=(6, 13))
def exercise(bench: Bench) -> None:
    """Free and reuse the page that a scanner found, before it has the lock, and have it forget it."""
    with race.stage(bench) as stage:
        found = []
        for _turn in range(TURNS):
            with stage.disk("mixed") as disk:
                with stage.scanning() as (_, page):
                    disk.discard()
                    disk.write()
                stage.finish()
                found.append(page)
                disk.verify("reused")
        with stage.disk("mixed") as disk:
            disk.check_sound()
        stage.check_released(found)
