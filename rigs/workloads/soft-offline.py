# SPDX-License-Identifier: GPL-2.0-only
"""Pages of zspages are taken out of use one by one, at rest and under load."""

from toolkit.workload import Bench, workload, zram
from toolkit.workload.programs import CHURN, page_bytes, run, run_together

DISK_BYTES = 24 << 20
SECONDS = 5


@workload(
    suites=["full"],
    deadline_s=300,
    single_threaded=False,
    needs=["ZRAM", "MEMORY_FAILURE", "PROC_PAGE_MONITOR"],
    floors={"offlined": 30, "zs_page_migrate": 20, "bytes_verified": 2 * DISK_BYTES},
)
def exercise(bench: Bench) -> None:
    """Soft-offline pages of a zram disk one by one, which moves each of them."""
    guest = bench.guest
    pages_before = zram.nr_zspages(guest)
    slots = zram.slots_for(guest, DISK_BYTES)
    with zram.disk(guest, slots * page_bytes(guest)) as device:
        state = f"--device={device.device} --state=/tmp/offline.state"
        run(bench, "created", f"zblk create --slots={slots} --seed={bench.seed} {state}")
        run(bench, "filled", f"zblk write --mix=mixed {state}")
        bench.checkpoint("filled")

        run(bench, "offlined", f"offline --pages=100 --tries=400 --seed={bench.seed}")
        report = run(bench, "verified", f"zblk verify {state}")
        zram.check_accounting(bench, "offlined", device, report)
        bench.checkpoint("offlined")

        run_together(
            bench,
            {
                "churned": f"{CHURN} --writers=2 --readers=1 --seconds={SECONDS} {state}",
                "offlined-busy": f"offline --pages=50 --tries=200 --seed={bench.seed + 1}",
            },
        )
        report = run(bench, "churn-verified", f"zblk verify {state}")
        zram.check_accounting(bench, "churned", device, report)
        zram.check_io_errors(bench, "all", device)
        bench.checkpoint("churned")
    zram.check_residue(bench, "removed", pages_before)
