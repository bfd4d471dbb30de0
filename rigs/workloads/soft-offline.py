# SPDX-License-Identifier: GPL-2.0-only
"""Pages of zspages are taken out of use one by one, at rest and under load."""

from toolkit.workload import Bench, workload, zram
from toolkit.workload.programs import CHURN, run, run_together

DISK_BYTES = 24 << 20
SECONDS = 5


@workload(
    suites=["full"],
    deadline_s=300,
    single_threaded=False,
    needs=["ZRAM", "HWPOISON_INJECT", "PROC_PAGE_MONITOR"],
    floors={"offlined": 30, "zs_page_migrate": 20, "bytes_verified": 2 * DISK_BYTES},
)
def exercise(bench: Bench) -> None:
    """Soft-offline pages of a zram disk one by one, which moves each of them."""
    with zram.known_disk(bench, DISK_BYTES) as disk:
        disk.run("filled", "write --mix=mixed")
        bench.checkpoint("filled")

        run(bench, "offlined", f"offline --pages=100 --tries=400 --seed={bench.seed}")
        disk.settle("offlined")

        run_together(
            bench,
            {
                "churned": f"{CHURN} --writers=2 --readers=1 --seconds={SECONDS} {disk.options}",
                "offlined-busy": f"offline --pages=50 --tries=200 --seed={bench.seed + 1}",
            },
        )
        disk.settle("churned")
