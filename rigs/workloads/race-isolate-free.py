# SPDX-License-Identifier: GPL-2.0-only
"""Every object of a zspage is freed while one of its pages is being isolated, and locked for it."""

from toolkit.workload import Bench, race
from toolkit.workload.race import at


@race.scene(floors={"holds": 1, "zs_page_isolate": 1, "async_free_zspage": 1})
def exercise(bench: Bench) -> None:
    """Free a zspage while one of its pages is being isolated."""
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        with stage.held(at("zs_page_isolate"), by=race.COMPACT):
            stage.meanwhile(disk.command("discard"))
        stage.finish()
        disk.check_sound()
