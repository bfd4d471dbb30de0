# SPDX-License-Identifier: GPL-2.0-only
"""A process goes to another node with all of its pages, but for those that somebody else holds.

The machine has two nodes on arm64 only.
"""

from toolkit.workload import Bench, workload, zram
from toolkit.workload.programs import run

DISK_BYTES = 4 << 20
# More than are tried at a time (NR_MAX_BATCHED_MIGRATION, mm/migrate.c: 512 with pages of 4 KiB).
PAGES, PINNED = 2048, 16


@workload(
    suites=["full"],
    deadline_s=180,
    single_threaded=True,
    machine="nodes",
    needs=["ZRAM", "NUMA", "MIGRATION", "ARM64_4K_PAGES"],
    floors={"bytes_verified": DISK_BYTES, "mm_migrate_pages": 2},
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
        disk.settle("moved")
