# SPDX-License-Identifier: GPL-2.0-only
"""Slots of a zram disk are written while the first of them is on its way to the backing device.

What arrives there is old by then, and must not become what the slot holds.
"""

from toolkit.workload import Bench, race, zram
from toolkit.workload.race import at

BACKING = "/dev/ram0"
# Marks all slots as idle, but the one that is under way; newer kernels do so only when all is written back.
_MARKED = """
(echo all >{idle}; echo >/tmp/marked) >/dev/null 2>&1 &
tries=20
until [ -e /tmp/marked ] || [ $tries = 0 ]; do tries=$((tries - 1)); sleep 0.05; done
"""


@race.scene(
    floors={"holds": 1, "bytes_verified": 1},
    needs=["ZRAM_WRITEBACK", "ZRAM_MEMORY_TRACKING", "BLK_DEV_RAM"],
)
def exercise(bench: Bench) -> None:
    """Write slots that are being written back, and mark them as idle."""
    zram.fill_backing(bench, BACKING)
    with race.stage(bench) as stage, stage.alike(spanning=False, backing=BACKING) as alike:
        alike.change_all()
        bench.guest.write(f"{alike.device.sysfs}/idle", "all")
        # Nothing else that this processor does comes to the block layer: zram has what it is to read.
        with stage.held(at("submit_bio"), by=f"echo idle >{alike.device.sysfs}/writeback"):
            alike.refill()
            bench.guest.execute(_MARKED.format(idle=f"{alike.device.sysfs}/idle"), deadline=bench.deadline)
        stage.finish()
        alike.verify()
        bench.checkpoint("verified")
