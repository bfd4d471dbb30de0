# SPDX-License-Identifier: GPL-2.0-only
"""Every object of a zspage is freed while one of its pages is being moved.

Whoever moves it holds the page's lock, so that the zspage cannot be freed there and then: a
worker does, which has to wait for the lock of a page that is no part of the zspage by then.
"""

from toolkit.workload import Bench, race


@race.scene(floors={"holds": 1, "zs_page_migrate": 1, "async_free_zspage": 1}, needs=["MEMORY_FAILURE"])
def exercise(bench: Bench) -> None:
    """Free a zspage while one of its pages is being moved."""
    race.free_while_moved(bench, "mixed")
