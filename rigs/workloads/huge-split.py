# SPDX-License-Identifier: GPL-2.0-only
"""Huge pages are in the way, and no other can be had for them: they are split, and their pages moved."""

import shlex

from toolkit.workload import Bench, failing, memory, workload, zram
from toolkit.workload.programs import page_bytes, run

DISK_BYTES = 8 << 20
MIB = 64
HUGE_ORDER = 9
SPLIT, ALLOCATED = "thp_migration_split", "thp_fault_alloc"
# Takes the area piece by piece until one is refused so often, and gives it back.  Where huge pages are
# allocated for that, those allocations fail.
_TAKE = """
cd /sys/kernel/debug/cma/*/ && echo 1 >/proc/self/make-it-fail
piece=$(($(cat count) / 48)) taken=0 tries=8
while [ $tries -gt 0 ] && [ $((taken + piece)) -le $(cat count) ]; do
    if echo $piece 2>/dev/null >alloc; then
        taken=$((taken + piece)) tries=8
    else
        tries=$((tries - 1)); sleep 0.1
    fi
done
echo 0 >/proc/self/make-it-fail
echo $taken >/tmp/taken
[ $taken = 0 ] || echo $taken >free
"""


@workload(
    suites=["quick", "full"],
    deadline_s=240,
    single_threaded=False,
    machine="contiguous",
    needs=["ZRAM", "CMA_DEBUGFS", "DMA_CMA", "TRANSPARENT_HUGEPAGE", *failing.NEEDS],
    floors={"bytes_verified": (MIB << 20) + DISK_BYTES, "taken": 1},
)
def exercise(bench: Bench) -> None:
    """Allocate contiguous memory where huge pages and zspages are, and no huge page can be allocated."""
    guest = bench.guest
    memory.allow_huge_pages(guest)
    failing.prepare(guest)
    failing.only_large_pages(guest, HUGE_ORDER)
    with zram.known_disk(bench, DISK_BYTES) as disk:
        disk.run("filled", "write --mix=mixed --batch=16")
        before = memory.counters(guest, SPLIT, ALLOCATED)
        failing.let_fail(guest, pages_percent=100)
        run(bench, "held", f"held --huge --mib={MIB} --while={shlex.quote(_TAKE)}")
        failing.let_fail(guest)
        after = memory.counters(guest, SPLIT, ALLOCATED)
        bench.count("taken", int(guest.read("/tmp/taken")))
        # Larger pages make larger huge ones, of which this has none.
        if page_bytes(guest) == 4096:
            split = after[SPLIT] - before[SPLIT]
            bench.check(
                "huge/split",
                split > 0,
                expected=f"some of {after[ALLOCATED] - before[ALLOCATED]}",
                seen=split,
                because="what cannot be moved as a whole is moved page by page",
            )
        disk.settle("taken")
