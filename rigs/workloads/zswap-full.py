# SPDX-License-Identifier: GPL-2.0-only
"""zswap refuses what is beyond its limit, for as long as it is: the pool that was full takes pages again.

No other pool is made here: see zswap-given-up.
"""

from toolkit.workload import Bench, memory, modules, workload, zram, zswap
from toolkit.workload.programs import page_bytes, run

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

        def swapped(label: str, cold: str) -> int:
            """Swap something cold out and in; returns how many pages zswap took."""
            before = memory.counters(guest, "zswpout")["zswpout"]
            guest.execute(f"swapon {disk}", deadline=bench.deadline)
            run(bench, label, f"cold {cold} --seconds=1")
            guest.execute(f"swapoff {disk}", deadline=bench.deadline)
            zram.check_residue(bench, label, pages_before)
            bench.checkpoint(label)
            return memory.counters(guest, "zswpout")["zswpout"] - before

        for label in ("limited", "again"):
            stored = swapped(label, f"--mib={COLD_MIB}")
            bench.check(
                f"stored/{label}",
                stored > 0,
                expected="some pages",
                seen=stored,
                because="zswap takes pages while there is room in its pool, which was empty",
            )
        if b"Y" in guest.execute(f"cat {zswap.TAKES_ANY}", deadline=bench.deadline, ok=None).stdout:
            guest.write(zswap.TAKES_ANY, "N")
            same_mib = COLD_MIB // 4
            least = (same_mib << 20) // page_bytes(guest) // 2
            stored = swapped("same", f"--mib={same_mib} --same")
            bench.check(
                "stored/same",
                stored >= least,
                expected=f"{least} pages or more",
                seen=stored,
                because="a page that repeats one word needs no room in the pool",
            )
    bench.count("limit_hits", int(guest.read(zswap.LIMIT_HIT)))
