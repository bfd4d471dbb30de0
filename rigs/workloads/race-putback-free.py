# SPDX-License-Identifier: GPL-2.0-only
"""Moving a page failed: its zspage is freed while it is being put back, and locked for it."""

import errno

from toolkit.workload import Bench, race
from toolkit.workload.race import at


@race.scene(floors={"holds": 2, "zs_page_putback": 1, "async_free_zspage": 1}, before=(6, 12))
def exercise(bench: Bench) -> None:
    """Free a zspage while one of its pages is being put back."""
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        with stage.held(at("zs_page_migrate"), by=race.COMPACT) as mover:
            mover.fail(errno.EBUSY)
            mover.on_to(at("zs_page_putback"))
            disk.discard()
        stage.finish()
        disk.check_sound()
