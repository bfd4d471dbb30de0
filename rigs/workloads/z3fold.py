# SPDX-License-Identifier: GPL-2.0-only
"""The pages of z3fold can be moved as well: zswap fills them, and zspages are moved beside them."""

from toolkit.workload import Bench, memory, workload, zram, zswap
from toolkit.workload.programs import CHURN, run_together

DISK_BYTES = 2 << 20
COLD_MIB = 12
SECONDS = 6
SWAP = "/dev/ram0"


@workload(
    suites=["full"],
    deadline_s=300,
    single_threaded=False,
    needs=["ZRAM", "ZSWAP", "Z3FOLD", "BLK_DEV_RAM", "COMPACTION", "HWPOISON_INJECT"],
    machine="small",
    floors={
        "bytes_verified": (COLD_MIB << 20) + 2 * DISK_BYTES,
        "zswpout": COLD_MIB << 3,
        "z3fold_page_migrate_success": 20,
        "zs_page_migrate_success": 20,
    },
)
def exercise(bench: Bench) -> None:
    """Page memory out to a pool of z3fold by zswap, and have the pool's pages moved."""
    guest = bench.guest
    guest.write(f"{zswap.PARAMETERS}/zpool", "z3fold")
    guest.write(f"{zswap.PARAMETERS}/enabled", "1")
    guest.execute(f"mkswap {SWAP} && swapon {SWAP}", deadline=bench.deadline)
    with zram.known_disk(bench, DISK_BYTES) as disk:
        disk.run("filled", "write --mix=mixed")
        bench.checkpoint("filled")
        before = memory.counters(guest, "zswpout")
        fragment_mib = memory.available_mib(guest) // 4
        run_together(
            bench,
            {
                "cold": f"cold --mib={COLD_MIB} --seconds={2 * SECONDS}",
                "fragmented": f"fragment --mib={fragment_mib} --seconds={SECONDS} --hold-ms=200 --cycles=2 "
                f"--compact={memory.COMPACT}",
                "offlined": f"sleep 2; offline --pages=60 --tries=600 --seed={bench.seed}",
                "churned": f"{CHURN} --writers=1 --readers=1 --seconds={SECONDS} {disk.options}",
            },
        )
        for name, value in memory.counters(guest, *before).items():
            bench.count(name, value - before[name])
        disk.run("verified", "verify")
        bench.checkpoint("moved")
    guest.execute(f"swapoff {SWAP}", deadline=bench.deadline)
