# SPDX-License-Identifier: GPL-2.0-only
"""A zram device gets a size, and so a pool, when it was reset already in order to be removed."""

from toolkit.workload import Bench, race, zram
from toolkit.workload.race import at

DISK_BYTES = 1 << 20


@race.scene(floors={"holds": 1, "zs_create_pool": 2, "bytes_verified": 1})
def exercise(bench: Bench) -> None:
    """Give a zram device a size while it is being removed: its pool goes with it."""
    guest = bench.guest
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        number = int(guest.read(f"{zram.CONTROL}/hot_add"))
        removed = zram.ZramDevice(guest, number)
        with stage.held(at("del_gendisk"), by=f"echo {number} >{zram.CONTROL}/hot_remove"):
            removed.initialise(DISK_BYTES)
            zram.expect(bench, "initstate/late", "1", removed.attribute("initstate"))
        stage.finish()
        disk.verify()
        bench.checkpoint("verified")
