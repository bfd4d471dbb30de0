# SPDX-License-Identifier: GPL-2.0-only
"""Huge pages are wanted where memory is fragmented: whoever wants them has to compact, zspages in the way."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import run_together

DISK_BYTES = 20 << 20
SECONDS = 8
# Of each thread: a small machine has small buffers for the trace.
OPERATIONS = 4000
# What is neither fragmented nor asked for.
LEFT_MIB = 15
THP_MIB = 12
# Larger than a page on every architecture, whatever the size of its pages.
HUGE = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
HUGE_MIB = 2


@workload(
    suites=["quick", "full"],
    deadline_s=300,
    single_threaded=False,
    needs=["ZRAM", "COMPACTION", "HUGETLBFS", "TRANSPARENT_HUGEPAGE"],
    machine="small",
    floors={
        "cycles": 2,
        "compact_stall": 2,
        "htlb_buddy_alloc_success": 5,
        "bytes_verified": DISK_BYTES,
        "zs_page_migrate": 100,
    },
)
def exercise(bench: Bench) -> None:
    """Want huge pages of fragmented memory while a zram disk in it is churned."""
    guest = bench.guest
    with zram.known_disk(bench, DISK_BYTES) as disk:
        # Direct compaction ends with the first huge page: zspages beyond it would stay where they are.
        with memory.scattered(bench, memory.available_mib(guest) // 2):
            disk.run("filled", "write --mix=mixed --batch=16")
        memory.allow_huge_pages(guest)
        # Half of that is free in the end, a page at a time, and two thirds of this wanted at once.
        fragment_mib = memory.available_mib(guest) - LEFT_MIB
        wanted = (LEFT_MIB + fragment_mib // 3) // HUGE_MIB
        names = ("compact_stall", "htlb_buddy_alloc_success", "thp_fault_alloc")
        before = memory.counters(guest, *names)
        run_together(
            bench,
            {
                "churned": f"zblk churn --mix=churn --operations={OPERATIONS} --writers=2 --readers=1 "
                f"--seconds={SECONDS} {disk.options}",
                "fragmented": f"fragment --mib={fragment_mib} --seconds={SECONDS} --hold-ms=500 --cycles=2 "
                f"--huge-mib={THP_MIB} --reserve={wanted} --reserve-file={HUGE}",
            },
        )
        for name, seen in memory.counters(guest, *names).items():
            bench.count(name, seen - before[name])
        disk.settle("churned")
