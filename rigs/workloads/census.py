# SPDX-License-Identifier: GPL-2.0-only
"""Who locks tail pages: a kernel that counts that has zspages and huge pages moved, split and freed.

In no suite, for it takes the series `census`, alone or on top of another, and the configuration
`movers`: `--series pageless-owner+census --config movers`.
"""

from toolkit.collect import tail_locks
from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import CHURN, run, run_together

DISK_BYTES = 16 << 20
SECONDS = 10
HUGE = "/tmp/huge"
KSM = "/sys/kernel/mm/ksm"
THP = "/sys/kernel/mm/transparent_hugepage/enabled"


@workload(
    suites=[],
    deadline_s=400,
    single_threaded=False,
    needs=["DEBUG_TAIL_LOCK", "ZRAM", "TRANSPARENT_HUGEPAGE", "HUGETLBFS", "KSM", "HWPOISON_INJECT"],
    floors={
        "bytes_verified": 2 * DISK_BYTES,
        "cycles": 4,
        "offlined": 30,
        "zs_page_migrate": 100,
        "thp_fault_alloc": 3,
        "thp_split_page": 3,
        **{f"selftest/{function}": number for function, number in tail_locks.SELFTEST.items()},
    },
)
def exercise(bench: Bench) -> None:
    """Move and free zspages and huge pages in all ways, and count who locks tail pages."""
    guest = bench.guest
    guest.execute(
        f"mkdir {HUGE} && mount -t tmpfs -o huge=always huge {HUGE} && echo 2 >/proc/sys/vm/nr_hugepages",
        deadline=bench.deadline,
    )
    # The kernel leaves them out with so little memory.  Files have huge pages with BASE_FULL only.
    guest.write(THP, "madvise")
    for name, value in (("pages_to_scan", 10_000), ("sleep_millisecs", 20), ("run", 1)):
        guest.write(f"{KSM}/{name}", str(value))
    before = memory.counters(guest, "thp_fault_alloc", "thp_split_page")
    with zram.known_disk(bench, DISK_BYTES) as disk:
        disk.run("filled", "write --mix=mixed")
        bench.checkpoint("filled")
        run(bench, "offlined", f"offline --pages=60 --tries=600 --seed={bench.seed}")
        fragment_mib = memory.available_mib(guest) // 8
        run_together(
            bench,
            {
                "churned": f"{CHURN} --writers=2 --readers=1 --seconds={SECONDS} {disk.options}",
                "fragmented": f"fragment --mib={fragment_mib} --seconds={SECONDS} --hold-ms=200 --cycles=2 "
                f"--compact={memory.COMPACT}",
                "huge": f"huge --directory={HUGE} --seconds={SECONDS}",
                "offlined-busy": f"offline --pages=30 --tries=200 --seed={bench.seed + 1}",
                "compacting": f"poke --seconds={SECONDS} --every-ms=300 {disk.device.sysfs}/compact",
            },
        )
        disk.run("verified", "verify")
        bench.checkpoint("churned")
        zram.check_io_errors(bench, "all", disk.device)
    for name, value in memory.counters(guest, *before).items():
        bench.count(name, value - before[name])

    counted = tail_locks.parse(guest.read(tail_locks.FILE).decode())
    selftest = counted.of(tail_locks.SELFTEST_CALLER)
    for function, number in selftest.items():
        bench.count(f"selftest/{function}", number)
    bench.check(
        "census/selftest",
        selftest == tail_locks.SELFTEST,
        expected=dict(tail_locks.SELFTEST),
        seen=dict(selftest),
        because="the kernel's self-test does each once to a tail page, and to the head of it too",
    )
    bench.check(
        "census/lost",
        counted.lost == 0,
        expected=0,
        seen=counted.lost,
        because="the table has room for all who lock tail pages",
    )
    # What is kept for huge pages is counted for nothing.
    guest.execute(f"umount {HUGE} && echo 0 >/proc/sys/vm/nr_hugepages", deadline=bench.deadline)
