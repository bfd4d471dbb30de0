# SPDX-License-Identifier: GPL-2.0-only
"""Moving a page failed: its zspage is freed before it is put back, and the page not locked."""

import errno

from toolkit.workload import Bench, race
from toolkit.workload.race import at


@race.scene(floors={"holds": 2, "zs_page_isolate": 1})
def exercise(bench: Bench) -> None:
    """Free a zspage before one of its pages is put back."""
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        with stage.held(at("zs_page_migrate"), by=race.COMPACT) as mover:
            mover.fail(errno.EBUSY)
            mover.on_to(at("putback_movable_pages"))
            disk.discard()
        stage.finish()
        disk.check_sound()
