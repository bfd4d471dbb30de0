# SPDX-License-Identifier: GPL-2.0-only
"""Zspages whose pages are moved one by one, from one thread: short, for every step of a series."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import page_bytes, run

DISK_BYTES = 4 << 20


@workload(
    suites=["smoke", "quick", "full"],
    deadline_s=180,
    single_threaded=True,
    needs=["ZRAM", "MEMORY_FAILURE", "PROC_PAGE_MONITOR"],
    floors={"offlined": 20, "zs_page_migrate": 20, "bytes_verified": 3 * DISK_BYTES // 2},
)
def exercise(bench: Bench) -> None:
    """Move pages of a zram disk at rest, by soft offlining, then merge and free their zspages."""
    guest = bench.guest
    memory.keep_quiet(guest)
    pages_before = zram.nr_zspages(guest)
    slots = zram.slots_for(guest, DISK_BYTES)
    with zram.disk(guest, slots * page_bytes(guest)) as device:
        state = f"--device={device.device} --state=/tmp/move.state --cpu=0"
        run(bench, "created", f"zblk create --slots={slots} --seed={bench.seed} {state}")
        run(bench, "filled", f"zblk write --mix=spread {state}")
        bench.checkpoint("filled")

        run(bench, "offlined", f"offline --pages=240 --tries=2400 --seed={bench.seed}")
        report = run(bench, "verified", f"zblk verify {state}")
        zram.check_accounting(bench, "offlined", device, report)
        bench.checkpoint("offlined")

        run(bench, "thinned", f"zblk discard --step=2 {state}")
        device.compact()
        bench.checkpoint("compacted")
        run(bench, "compacted-verified", f"zblk verify {state}")

        run(bench, "emptied", f"zblk discard {state}")
        zram.check_emptied(bench, "emptied", device)
        zram.check_io_errors(bench, "all", device)
        bench.checkpoint("emptied")
    zram.check_residue(bench, "removed", pages_before)
