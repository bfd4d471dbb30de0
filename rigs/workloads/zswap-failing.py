# SPDX-License-Identifier: GPL-2.0-only
"""zswap gets no object for some of its pages: these go to the swap device, and nothing is lost or left."""

from toolkit.workload import Bench, failing, modules, workload, zram, zswap
from toolkit.workload.programs import run

COLD_MIB = 8
SWAP_MIB = 16


@workload(
    suites=["quick", "full"],
    deadline_s=240,
    single_threaded=False,
    machine="failing",
    needs=["ZSWAP", "MODULES", *failing.NEEDS],
    floors={"bytes_verified": 2 * COLD_MIB << 20, "refused": 50, "zs_malloc": 50, "zs_free": 50},
)
def exercise(bench: Bench) -> None:
    """Swap through zswap while allocations of its pool fail, and find every byte."""
    guest = bench.guest
    pages_before = zram.nr_zspages(guest)
    zswap.enable(bench)
    failing.prepare(guest)
    failing.only_marked_caches(guest)
    with modules.memdisk(bench, SWAP_MIB) as disk:
        guest.execute(f"mkswap {disk} && swapon {disk}", deadline=bench.deadline)
        for label, pages, slabs in (("slabs", 0, 30), ("pages", 30, 0)):
            failing.let_fail(guest, pages_percent=pages, slabs_percent=slabs)
            run(bench, label, f"cold --mib={COLD_MIB} --seconds=1 --failing")
            failing.let_fail(guest)
            bench.checkpoint(label)
        guest.execute(f"swapoff {disk}", deadline=bench.deadline)
    bench.count("refused", int(guest.read(zswap.REFUSED)))
    zram.check_residue(bench, "off", pages_before)
    bench.checkpoint("off")
