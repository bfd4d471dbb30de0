# SPDX-License-Identifier: GPL-2.0-only
"""Memory is fragmented and compacted while zspages are made, used and freed in it."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import CHURN, run_together

DISK_BYTES = 16 << 20
SECONDS = 6


@workload(
    suites=["quick", "full"],
    deadline_s=300,
    single_threaded=False,
    needs=["ZRAM", "COMPACTION"],
    floors={"cycles": 2, "bytes_verified": DISK_BYTES, "zs_page_migrate": 100},
)
def exercise(bench: Bench) -> None:
    """Compact fragmented memory, zspages in the way, while a zram disk is churned."""
    guest = bench.guest
    with zram.known_disk(bench, DISK_BYTES) as disk:
        fragment_mib = memory.available_mib(guest) // 8
        run_together(
            bench,
            {
                "churned": f"{CHURN} --writers=2 --readers=1 --seconds={SECONDS} {disk.options}",
                "fragmented": f"fragment --mib={fragment_mib} --seconds={SECONDS} --hold-ms=200 --cycles=2 "
                f"--compact={memory.COMPACT}",
            },
        )
        disk.settle("churned")

        # At rest: what is left is all at one end, where nothing but compaction moved it.
        guest.write(memory.COMPACT, "1")
        disk.run("moved", "verify")
        bench.checkpoint("moved")
        zram.check_io_errors(bench, "all", disk.device)
