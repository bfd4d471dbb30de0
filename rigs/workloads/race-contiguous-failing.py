# SPDX-License-Identifier: GPL-2.0-only
"""Contiguous memory is wanted, and there is none for what is in its way: what was isolated goes back."""

import errno

from toolkit.workload import Bench, race
from toolkit.workload.race import at

# Takes the area piece by piece until one is refused, and gives it back.
TAKE = """
cd /sys/kernel/debug/cma/*/
piece=$(($(cat count) / 48)) taken=0
while echo $piece >alloc; do taken=$((taken + piece)); done 2>/dev/null
[ $taken = 0 ] || echo $taken >free
"""


@race.scene(
    floors={"holds": 2, "zs_page_isolate": 1, "zs_page_putback": 1, "bytes_verified": 1},
    needs=["CMA_DEBUGFS", "DMA_CMA"],
    machine="contiguous",
)
def exercise(bench: Bench) -> None:
    """Let a contiguous allocation fail that has isolated zspages."""
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        with stage.held(at("zs_page_isolate"), by=TAKE) as taker:
            taker.on_to(at("migrate_pages"))
            taker.fail(errno.ENOMEM)
        stage.finish()
        stage.check_none_isolated()
        disk.check_sound()
