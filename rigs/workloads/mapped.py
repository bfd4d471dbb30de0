# SPDX-License-Identifier: GPL-2.0-only
"""What a page is beyond its content, it is where it was moved to: private, shared, read-only, locked."""

import shlex

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import run

DISK_BYTES = 4 << 20
PAGES = 32
KINDS = 6
LOCKED = "nr_mlock"
# What is scattered first, so that there are places for what is mapped.
SCATTERED_MIB = 192


@workload(
    suites=["quick", "full"],
    deadline_s=180,
    single_threaded=True,
    needs=["ZRAM", "COMPACTION", "MEMORY_FAILURE", "PROC_PAGE_MONITOR", "NUMA"],
    machine="single",
    floors={
        "mm_migrate_pages": PAGES * KINDS // 2,
        "bytes_verified": DISK_BYTES,
        "discardable_moved": PAGES // 4,
        "compacted": 64,
    },
)
def exercise(bench: Bench) -> None:
    """Move pages that two processes have in common, are read-only or locked, a zram disk beside them."""
    guest = bench.guest
    memory.keep_quiet(guest)
    with zram.known_disk(bench, DISK_BYTES) as disk:
        disk.run("filled", "write --mix=mixed")
        bench.checkpoint("filled")
        locked = memory.counters(guest, LOCKED)[LOCKED]
        guest.write(memory.COMPACT_UNEVICTABLE, "0")
        compact = shlex.quote(f"echo 1 >{memory.COMPACT}")
        with memory.scattered(bench, SCATTERED_MIB):
            report = run(bench, "mapped", f"mapped --pages={PAGES} --compact={compact}")
        bench.count("compacted", report.number("compacted"))
        bench.count("discardable_moved", report.number("discardable"))
        bench.check(
            "mapped/moved",
            report.number("moved") >= PAGES * KINDS // 2,
            expected=f"{PAGES * KINDS // 2} or more of {PAGES * KINDS} moved",
            seen=report.number("moved"),
            because="pages that nobody uses but the processes that map them can be moved",
        )
        for name, because in (
            ("misplaced", "each page is told the node that it is in, or that it is not there"),
            ("compacted_locked", "compaction was told to leave what is locked where it is"),
            ("changed", "dirty, anonymous, locked, ...: what a page is, it stays"),
            ("counted", "as many processes map a page after it was moved"),
            ("writable", "what is read-only stays so"),
            ("unlocked", "a page is locked until the last who locked it unlocks it"),
            ("kept", "what may be thrown away still may be after it was moved"),
            ("child", "of what is private the child has its own, as it was"),
        ):
            seen = report.number(name)
            bench.check(f"mapped/{name}", seen == 0, expected=0, seen=seen, because=because)
        zram.expect(bench, "mapped/locked", locked, memory.counters(guest, LOCKED)[LOCKED])
        disk.settle("moved")
        disk.empty()
