# SPDX-License-Identifier: GPL-2.0-only
"""What a page is beyond its content, it is where it was moved to: private, shared, read-only, locked."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import run

DISK_BYTES = 4 << 20
PAGES = 32
KINDS = 6
LOCKED = "nr_mlock"


@workload(
    suites=["quick", "full"],
    deadline_s=180,
    single_threaded=True,
    needs=["ZRAM", "COMPACTION", "MEMORY_FAILURE", "PROC_PAGE_MONITOR"],
    machine="single",
    floors={
        "mm_migrate_pages": PAGES * KINDS // 2,
        "bytes_verified": DISK_BYTES,
        "discardable_moved": PAGES // 4,
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
        report = run(bench, "mapped", f"mapped --pages={PAGES}")
        bench.count("discardable_moved", report.number("discardable"))
        bench.check(
            "mapped/moved",
            report.number("moved") >= PAGES * KINDS // 2,
            expected=f"{PAGES * KINDS // 2} or more of {PAGES * KINDS} moved",
            seen=report.number("moved"),
            because="pages that nobody uses but the processes that map them can be moved",
        )
        for name, because in (
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
