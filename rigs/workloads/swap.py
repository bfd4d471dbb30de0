# SPDX-License-Identifier: GPL-2.0-only
"""Swap on zram: pages leave under pressure, and come back to threads and to children."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import run

# The program fills more than it is left.  What swap takes of it is compressed to less
# than half, and fits into the rest.
FILL_MIB = 16
LEFT_MIB = 14


@workload(
    suites=["quick", "full"],
    deadline_s=300,
    single_threaded=False,
    needs=["ZRAM", "SWAP"],
    machine="small",
    floors={"bytes_verified": 2 * FILL_MIB << 20, "pages_swapped_out": 100, "pages_swapped_in": 100},
)
def exercise(bench: Bench) -> None:
    """Swap to zram under memory pressure, from threads and from forked children."""
    guest = bench.guest
    pages_before = zram.nr_zspages(guest)
    with zram.disk(guest, 4 * FILL_MIB << 20) as device:
        with zram.swap(bench, device):
            header = device.mm_stat().orig_data_size
            bench.checkpoint("on")
            swapped_before = memory.counters(guest, "pswpout", "pswpin")
            run(bench, "swapped", memory.swapper(bench, mib=FILL_MIB, left_mib=LEFT_MIB, children=2))
            swapped = memory.counters(guest, "pswpout", "pswpin")
            bench.count("pages_swapped_out", swapped["pswpout"] - swapped_before["pswpout"])
            bench.count("pages_swapped_in", swapped["pswpin"] - swapped_before["pswpin"])
        zram.check_swap_slots(bench, device, header)
        bench.checkpoint("off")
    zram.check_residue(bench, "removed", pages_before)
