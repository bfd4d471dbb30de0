# SPDX-License-Identifier: GPL-2.0-only
"""zswap refuses what is beyond its limit, for as long as it is: the pool that was full takes pages again.

No other pool is made here: see zswap-given-up.
"""

from toolkit.workload import Bench, memory, modules, workload, zram, zswap
from toolkit.workload.programs import run

# What is paged out; compressed, a third of it is left.
COLD_MIB = 12
# Of the memory, far less than that.
LIMIT_PERCENT = 1
SWAP_MIB = 16


@workload(
    suites=["quick", "full"],
    deadline_s=240,
    single_threaded=False,
    needs=["ZSWAP", "MODULES"],
    machine="small",
    floors={"bytes_verified": 2 * COLD_MIB << 20, "limit_hits": 10, "zs_malloc": 100, "zs_free": 100},
)
def exercise(bench: Bench) -> None:
    """Swap through zswap beyond its limit, empty it, and swap through it again."""
    guest = bench.guest
    pages_before = zram.nr_zspages(guest)
    zswap.enable(bench, max_pool_percent=str(LIMIT_PERCENT))
    with modules.memdisk(bench, SWAP_MIB) as disk:
        guest.execute(f"mkswap {disk}", deadline=bench.deadline)
        for label in ("limited", "again"):
            before = memory.counters(guest, "zswpout")["zswpout"]
            guest.execute(f"swapon {disk}", deadline=bench.deadline)
            run(bench, label, f"cold --mib={COLD_MIB} --seconds=1")
            guest.execute(f"swapoff {disk}", deadline=bench.deadline)
            stored = memory.counters(guest, "zswpout")["zswpout"] - before
            bench.check(
                f"stored/{label}",
                stored > 0,
                expected="some pages",
                seen=stored,
                because="zswap takes pages while there is room in its pool, which was empty",
            )
            zram.check_residue(bench, label, pages_before)
            bench.checkpoint(label)
    bench.count("limit_hits", int(guest.read(zswap.LIMIT_HIT)))
