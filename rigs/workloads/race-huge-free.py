# SPDX-License-Identifier: GPL-2.0-only
"""A zspage of one page, which its object fills, is freed while that is being moved: a worker has to do it."""

from toolkit.workload import Bench, race
from toolkit.workload.race import at


@race.scene(floors={"holds": 1, "zs_page_migrate": 1, "async_free_zspage": 1}, needs=["MEMORY_FAILURE"])
def exercise(bench: Bench) -> None:
    """Free a huge object while its page is being moved."""
    with race.stage(bench) as stage, stage.disk("random") as disk:
        page = stage.page_array().physical(stage.moved_to())
        with stage.held(at("zs_page_migrate"), by=race.soft_offline(page)):
            disk.discard()
        stage.finish()
        disk.check_sound()
