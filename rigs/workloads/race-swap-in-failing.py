# SPDX-License-Identifier: GPL-2.0-only
"""The swap cache refuses a page that is to come back: it comes later, and its place is free then.

It does so where a group of processes may have no more memory, or where there is none for its own nodes.
"""

import errno

from toolkit.workload import Bench, memory, modules, race, zram, zswap
from toolkit.workload.programs import run_halted
from toolkit.workload.race import at

MIB = 1
SWAP_MIB = 16
TURNS = 3


# From 6.18 on who swaps in comes to another function.
@race.scene(
    floors={"holds": 2 * TURNS, "zs_malloc": 50, "zs_free": 50},
    needs=["ZSWAP", "MODULES"],
    before=(6, 18),
)
def exercise(bench: Bench) -> None:
    """Swap in through zswap while the swap cache refuses a page, and find every byte and every place."""
    guest = bench.guest
    pages_before = zram.nr_zspages(guest)
    zswap.enable(bench)
    with modules.memdisk(bench, SWAP_MIB) as disk, race.stage(bench) as stage:
        guest.execute(f"mkswap {disk} && swapon {disk}", deadline=bench.deadline)
        run_halted(bench, {"out": f"cold --mib={MIB} --seconds=3"}, at=["out"])
        for _turn in range(TURNS):
            with stage.held(at("__read_swap_cache_async"), by=f"cold --mib={MIB} --seconds=1") as reader:
                reader.on_to(at("add_to_swap_cache"))
                reader.fail(errno.ENOMEM)
            stage.finish()
        guest.execute(f"swapoff {disk}", deadline=bench.deadline)
    cached = memory.counters(guest, "nr_swapcached")["nr_swapcached"]
    zram.expect(bench, "off/nr_swapcached", 0, cached)
    zram.check_residue(bench, "off", pages_before)
