# SPDX-License-Identifier: GPL-2.0-only
"""A process goes to another node with all of its pages, but for those that somebody else holds.

The machine has two nodes on arm64 only.
"""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import run

DISK_BYTES = 4 << 20
# More than are tried at a time (NR_MAX_BATCHED_MIGRATION, mm/migrate.c: 512 with pages of 4 KiB).
PAGES, PINNED = 2048, 16
SWAPPED_MIB, SWAP_MIB = 8, 32
CACHED = "nr_swapcached"
# More than fit into what is left of a node in one piece.
HUGE_PAGES, LEFT_MIB = 6144, 8
# Pages of 4 KiB that a huge one has.
HUGE = 512
SPLIT = "thp_migration_split"


@workload(
    suites=["full"],
    deadline_s=180,
    single_threaded=True,
    machine="nodes",
    needs=["ZRAM", "SWAP", "NUMA", "MIGRATION", "TRANSPARENT_HUGEPAGE", "ARM64_4K_PAGES"],
    floors={
        "bytes_verified": DISK_BYTES,
        "mm_migrate_pages": 2,
        "cached": 64,
        "cached_moved": 64,
        "exchanged": 8,
        SPLIT: 1,
    },
)
def exercise(bench: Bench) -> None:
    """Move a process's pages to another node, some of which a pipe holds, a zram disk beside them."""
    with zram.known_disk(bench, DISK_BYTES) as disk:
        disk.run("filled", "write --mix=mixed")
        bench.checkpoint("filled")
        report = run(bench, "across", f"across --pages={PAGES} --pinned={PINNED}")
        for label, wanted, why in (
            ("moved", PAGES - PINNED, "what cannot be moved keeps no other page from it"),
            ("released", PAGES, "nobody holds them any more"),
        ):
            seen = report.number(label)
            bench.check(
                f"across/{label}",
                seen == wanted,
                expected=f"{wanted} of {PAGES} in the other node",
                seen=seen,
                because=why,
            )
        left = report.number("left")
        bench.check(
            "across/left",
            left >= PINNED,
            expected=f"{PINNED} or more not moved, by what the kernel says",
            seen=left,
            because="what the pipe holds cannot be moved",
        )
        # Of two that are named one is held, and one is there already.
        zram.expect(bench, "across/unmoved", 1, report.number("unmoved"))
        bench.count("exchanged", report.number("exchanged"))
        zram.expect(bench, "across/mistold", 0, report.number("mistold"))
        disk.settle("moved")
    _move_swap_cache(bench)
    _move_huge_pages(bench)


def _move_swap_cache(bench: Bench) -> None:
    """Move pages that are in the swap cache, and look which node's they are when they are gone."""
    guest = bench.guest
    with zram.disk(guest, SWAP_MIB << 20) as device, zram.swap(bench, device):
        report = run(bench, "swapped", f"reswap --mib={SWAPPED_MIB} --seed={bench.seed} --across")
        bench.count("cached", report.number("cached"))
        bench.count("cached_moved", report.number("moved"))
    memory.refresh(guest)
    for node in (0, 1):
        lines = guest.read(f"/sys/devices/system/node/node{node}/vmstat").decode().splitlines()
        cached = next(int(value) for name, value in map(str.split, lines) if name == CACHED)
        zram.expect(bench, f"node{node}/{CACHED}", 0, cached)


def _move_huge_pages(bench: Bench) -> None:
    """Move huge pages to a node that has single pages for them alone: split, all of each goes there."""
    guest = bench.guest
    memory.allow_huge_pages(guest)
    report = run(bench, "huge-pinned", f"across --pages={2 * HUGE} --pinned={PINNED} --huge")
    # The first is held by some of its pages.
    zram.expect(bench, "huge-pinned/moved", HUGE, report.number("moved"))
    zram.expect(bench, "huge-pinned/released", 2 * HUGE, report.number("released"))
    guest.write("/proc/sys/vm/compact_unevictable_allowed", "0")
    lines = guest.read("/sys/devices/system/node/node1/meminfo").decode().splitlines()
    free_kib = next(int(line.split()[3]) for line in lines if "MemFree:" in line)
    before = memory.counters(guest, SPLIT)[SPLIT]
    with memory.scattered(bench, (free_kib >> 10) - LEFT_MIB, locked=True, node=1):
        report = run(bench, "huge", f"across --pages={HUGE_PAGES} --huge")
    bench.count(SPLIT, memory.counters(guest, SPLIT)[SPLIT] - before)
    zram.expect(bench, "huge/moved", HUGE_PAGES, report.number("moved"))
