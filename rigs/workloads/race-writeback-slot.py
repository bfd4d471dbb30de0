# SPDX-License-Identifier: GPL-2.0-only
"""Slots of a zram disk are written while the first of them is on its way to the backing device.

What arrives there is old by then, and must not become what the slot holds.
"""

from toolkit.workload import Bench, race, zram
from toolkit.workload.race import at

BACKING = "/dev/ram0"


@race.scene(
    floors={"holds": 1, "bytes_verified": 1},
    needs=["ZRAM_WRITEBACK", "ZRAM_MEMORY_TRACKING", "BLK_DEV_RAM"],
)
def exercise(bench: Bench) -> None:
    """Write slots that are being written back."""
    zram.fill_backing(bench, BACKING)
    with race.stage(bench) as stage, stage.alike(spanning=False, backing=BACKING) as alike:
        alike.change_all()
        bench.guest.write(f"{alike.device.sysfs}/idle", "all")
        # Nothing else that this processor does comes to the block layer: zram has what it is to read.
        with stage.held(at("submit_bio"), by=f"echo idle >{alike.device.sysfs}/writeback"):
            alike.refill()
        stage.finish()
        alike.verify()
        bench.checkpoint("verified")
