# SPDX-License-Identifier: GPL-2.0-only
"""A churn that is halted in its middle, where the guest's memory is looked at."""

from toolkit.workload import Bench, workload, zram
from toolkit.workload.programs import CHURN, run_halted

DISK_BYTES = 8 << 20
SECONDS = 8
HALTS = 3


@workload(
    suites=["full"],
    deadline_s=300,
    single_threaded=False,
    needs=["ZRAM", "DEBUG_INFO", "FW_CFG_SYSFS"],
    floors={"writes": 200, "reads": 200, "discards": 30, "bytes_verified": DISK_BYTES, "halts": HALTS},
)
def exercise(bench: Bench) -> None:
    """Churn a zram disk, halt it in the middle, and look at all that zsmalloc has in memory."""
    with zram.known_disk(bench, DISK_BYTES) as disk:
        seconds = f"--seconds={SECONDS}"
        disk.run("filled", "write --mix=mixed")
        bench.checkpoint("filled")
        run_halted(
            bench,
            {
                "churned": f"{CHURN} --writers=3 --readers=2 --batch=4 {seconds} {disk.options}",
                "compacting": f"poke {seconds} --every-ms=50 {disk.device.sysfs}/compact",
                "moving": f"poke {seconds} --every-ms=200 /proc/sys/vm/compact_memory",
            },
            at=[f"halted-{number}" for number in range(1, HALTS + 1)],
        )
        disk.settle("churned")
