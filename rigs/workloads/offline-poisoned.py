# SPDX-License-Identifier: GPL-2.0-only
"""Memory is taken offline in which pages of zspages were taken out of use.

In no suite, for it fails on stock kernels, as run on 6.1.192, 6.12.117 and 7.3.4.  In 6.1 a page of a
driver that was soft-offlined keeps the mark of what can be moved (__ClearPageMovable() leaves
PAGE_MAPPING_MOVABLE), which only free_pages_prepare() takes away, and that leaves poisoned pages alone.  So
scan_movable_pages() finds it, do_migrate_range() passes over what is poisoned, and offline_pages()
goes on like that until it gets a signal, with mem_hotplug_lock held.
"""

from toolkit.collect import zoneinfo
from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import run

DISK_BYTES = 32 << 20
PAGES = 40
# What one block takes that can go offline is a second or two.
PATIENCE_S = 20


@workload(
    suites=[],
    deadline_s=900,
    single_threaded=False,
    needs=["ZRAM", "MEMORY_HOTREMOVE", "MEMORY_FAILURE", "PROC_PAGE_MONITOR", "MODULES"],
    machine="movable",
    floors={"poisoned": 10, "blocks": 2, "bytes_verified": DISK_BYTES // 2},
)
def exercise(bench: Bench) -> None:
    """Take pages of a zram disk out of use, then the memory around them offline."""
    empty = run(bench, "empty", memory.cycle_blocks(tries=3, patience_s=PATIENCE_S))
    bench.count("blocks", empty.number("offlined"))
    memory.fill_refused_blocks(bench, empty)
    with zram.known_disk(bench, DISK_BYTES) as disk:
        disk.run("filled", "write --mix=mixed --batch=16")
        (movable,) = [zone for zone in zoneinfo.read(bench.guest) if "Movable" in zone.label]
        report = run(
            bench,
            "poisoned",
            f"offline --pages={PAGES} --tries={20 * PAGES} --seed={bench.seed} --keep"
            f" --first-frame={movable.frames[0]} --last-frame={movable.frames[-1]}",
        )
        bench.count("poisoned", report.number("offlined"))
        command = memory.cycle_blocks(tries=3, patience_s=PATIENCE_S, may_stay=True)
        memory.check_blocks(bench, "poisoned", run(bench, "cycled", command), empty)
        disk.settle("cycled")
