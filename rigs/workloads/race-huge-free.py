# SPDX-License-Identifier: GPL-2.0-only
"""A zspage of one page, which its object fills, is freed while that is being moved: a worker has to do it."""

from toolkit.workload import Bench, race


@race.scene(floors={"holds": 1, "zs_page_migrate": 1, "async_free_zspage": 1}, needs=["MEMORY_FAILURE"])
def exercise(bench: Bench) -> None:
    """Free a huge object while its page is being moved."""
    race.free_while_moved(bench, "random")
