# SPDX-License-Identifier: GPL-2.0-only
"""Zspages whose pages are moved one by one, from one thread: short, for every step of a series."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import run

DISK_BYTES = 4 << 20
# So many pages move at the least: of those that are tried, most are zspages'.
LEAST = 20
COUNTER = "pgmigrate_success"
# Which pages may be taken out of use, by their flags (mm/hwpoison-inject.c).  No page has this one.
FILTER = "/sys/kernel/debug/hwpoison/corrupt-filter"
NO_PAGE = 1 << 20


@workload(
    suites=["smoke", "quick", "full"],
    deadline_s=180,
    single_threaded=True,
    needs=["ZRAM", "COMPACTION", "HWPOISON_INJECT", "PROC_PAGE_MONITOR"],
    machine="single",
    floors={"offlined": LEAST, "zs_page_migrate": LEAST, "bytes_verified": 3 * DISK_BYTES // 2},
)
def exercise(bench: Bench) -> None:
    """Move pages of a zram disk at rest, by soft offlining, then merge and free their zspages."""
    guest = bench.guest
    memory.keep_quiet(guest)
    with zram.known_disk(bench, DISK_BYTES, "--cpu=0") as disk:
        disk.run("filled", "write --mix=spread")
        bench.checkpoint("filled")

        for name, value in (("flags-mask", NO_PAGE), ("flags-value", NO_PAGE), ("enable", 1)):
            guest.write(f"{FILTER}-{name}", str(value))
        filtered = run(bench, "filtered", f"offline --pages={LEAST} --tries={4 * LEAST} --seed={bench.seed}")
        bench.check(
            "offline/filtered",
            filtered.number("offlined") == 0,
            expected="no page offlined",
            seen=filtered.number("offlined"),
            because="the filter lets no page be taken out of use",
        )
        guest.write(f"{FILTER}-enable", "0")

        before = memory.counters(guest, COUNTER)[COUNTER]
        report = run(bench, "offlined", f"offline --pages=240 --tries=2400 --seed={bench.seed}")
        offlined, corrupted = report.number("offlined"), report.number("corrupted")
        bench.check(
            "offline/counted",
            corrupted == offlined,
            expected=f"{offlined} pages more in HardwareCorrupted",
            seen=corrupted,
            because="a page that is taken out of use is counted until it is taken back",
        )
        moved = memory.counters(guest, COUNTER)[COUNTER] - before
        bench.check(
            "offline/moved",
            moved >= LEAST,
            expected=f"{LEAST} or more pages moved",
            seen=moved,
            because="a page of a zspage at rest can be moved, and so taken out of use",
        )
        disk.settle("offlined")

        disk.run("thinned", "discard --step=2")
        disk.device.compact()
        bench.checkpoint("compacted")
        disk.run("compacted-verified", "verify")

        disk.empty()
