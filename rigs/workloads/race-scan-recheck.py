# SPDX-License-Identifier: GPL-2.0-only
"""A scanner has locked a page of a zspage and has not looked yet whether it still is one; all is freed."""

from toolkit.workload import Bench, race


@race.scene(floors={"holds": 1, "bytes_verified": 1, "async_free_zspage": 1}, before=(6, 12))
def exercise(bench: Bench) -> None:
    """Free the page that a scanner has just locked, before it looks at it again."""
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        with stage.held(race.LOOKING, by=race.COMPACT):
            stage.meanwhile(disk.command("discard"))
        stage.finish()
        disk.check_sound()
