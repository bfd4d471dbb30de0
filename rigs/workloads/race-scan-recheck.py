# SPDX-License-Identifier: GPL-2.0-only
"""A scanner has locked a page of a zspage and has not looked yet whether it still is one; all is freed."""

from toolkit.workload import Bench, race


# Of so many pages that were found one after the other, nearly all are nobody's, or somebody's who is known.
TURNS = 4


@race.scene(floors={"holds": 2 * TURNS, "bytes_verified": 1, "async_free_zspage": 1}, before=(6, 12))
def exercise(bench: Bench) -> None:
    """Free the page that a scanner has just locked, before it looks at it again, and have it forget it."""
    with race.stage(bench) as stage:
        pages, found = stage.page_array(), []
        with stage.disk("mixed") as disk:
            for _ in range(TURNS):
                with stage.scanning() as (scanner, page):
                    scanner.on_to(race.LOOKING)
                    stage.meanwhile(disk.command("discard"))
                stage.finish()
                found.append(pages.physical(page))
                disk.write()
            disk.check_sound()
        stage.check_released(found)
