# SPDX-License-Identifier: GPL-2.0-only
"""A scanner has a reference to a page of a zspage, not its lock: the page is moved and taken out of use.

What the scanner then locks, looks at and puts has to be one and the same.
"""

from toolkit.workload import Bench, race


@race.scene(
    floors={"holds": 2, "zs_page_migrate": 1, "bytes_verified": 1}, needs=["MEMORY_FAILURE"], before=(6, 12)
)
def exercise(bench: Bench) -> None:
    """Move the page that a scanner found, before it has the lock."""
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        pages = stage.page_array()
        with stage.scanning() as (_, page):
            bench.guest.execute(race.soft_offline(pages.physical(page)), deadline=bench.deadline)
        stage.finish()
        disk.verify("moved")
        disk.check_sound()
