# SPDX-License-Identifier: GPL-2.0-only
"""Zspages whose pages are moved one by one, from one thread: short, for every step of a series."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import run

DISK_BYTES = 4 << 20


@workload(
    suites=["smoke", "quick", "full"],
    deadline_s=180,
    single_threaded=True,
    needs=["ZRAM", "MEMORY_FAILURE", "PROC_PAGE_MONITOR"],
    machine="single",
    floors={"offlined": 20, "zs_page_migrate": 20, "bytes_verified": 3 * DISK_BYTES // 2},
)
def exercise(bench: Bench) -> None:
    """Move pages of a zram disk at rest, by soft offlining, then merge and free their zspages."""
    guest = bench.guest
    memory.keep_quiet(guest)
    with zram.known_disk(bench, DISK_BYTES, "--cpu=0") as disk:
        disk.run("filled", "write --mix=spread")
        bench.checkpoint("filled")

        run(bench, "offlined", f"offline --pages=240 --tries=2400 --seed={bench.seed}")
        disk.settle("offlined")

        disk.run("thinned", "discard --step=2")
        disk.device.compact()
        bench.checkpoint("compacted")
        disk.run("compacted-verified", "verify")

        disk.empty()
