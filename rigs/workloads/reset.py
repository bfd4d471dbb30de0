# SPDX-License-Identifier: GPL-2.0-only
"""A device is reset and given its size again while others open, use and compact it."""

from toolkit.workload import Bench, workload, zram
from toolkit.workload.programs import page_bytes, run, run_together

DISK_BYTES = 4 << 20
SECONDS = 3
# On a slow host so many take longer.
RESETS = 10


@workload(
    suites=["quick", "full"],
    deadline_s=180,
    single_threaded=False,
    needs=["ZRAM"],
    floors={"resets": RESETS, "sessions": 20, "bytes_verified": 1 << 20},
)
def exercise(bench: Bench) -> None:
    """Reset a zram disk while others want it, and find every page given back."""
    guest = bench.guest
    pages_before = zram.nr_zspages(guest)
    slots = zram.slots_for(guest, DISK_BYTES)
    disksize = slots * page_bytes(guest)
    with zram.disk(guest, disksize) as device:
        run_together(
            bench,
            {
                "contended": f"zreset --device={device.device} --sysfs={device.sysfs} --disksize={disksize} "
                f"--seed={bench.seed} --seconds={SECONDS} --resets={RESETS} --users=3 --resetters=2",
                # Refused while the device has no size.
                "compacting": f"poke --seconds={SECONDS} --every-ms=5 {device.sysfs}/compact",
            },
        )
        device.reset()
        zram.check_residue(bench, "contended", pages_before)
        bench.checkpoint("contended")

        state = f"--device={device.device} --state=/tmp/reset.state"
        for mix in ("spread", "random", "mixed"):
            device.initialise(disksize)
            run(bench, f"{mix}-created", f"zblk create --slots={slots} --seed={bench.seed} {state}")
            report = run(bench, f"{mix}-filled", f"zblk write --mix={mix} {state}")
            zram.check_accounting(bench, mix, device, report)
            run(bench, f"{mix}-verified", f"zblk verify {state}")
            bench.checkpoint(f"{mix}-filled")
            device.reset()
            zram.check_residue(bench, mix, pages_before)
            bench.checkpoint(f"{mix}-reset")
            bench.count("resets", 1)
    zram.check_residue(bench, "removed", pages_before)
