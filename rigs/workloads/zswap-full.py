# SPDX-License-Identifier: GPL-2.0-only
"""zswap refuses what is beyond its limit, for as long as it is: the pool that was full takes pages again.

No other pool is made here: see zswap-given-up.
"""

import contextlib
from collections.abc import Iterator

from toolkit.workload import Bench, memory, modules, workload, zram, zswap
from toolkit.workload.programs import page_bytes, run

# What is paged out; compressed, a third of it is left.
COLD_MIB = 24
# Of the memory, less than that.
LIMIT_PERCENT = 1
# Of that limit: a pool that was full takes nothing until it holds less.
ACCEPT_PERCENT = 10
# A third of it is more than that, and less than the limit.
KEPT_MIB = 4
# Of pages that do not compress: 6.1 refuses them, and 7.3 keeps them as they are.
RANDOM_MIB = 1
# More than one of zswap's trees has (64 MiB with pages of 4 KiB, ZSWAP_ADDRESS_SPACE_PAGES), and no multiple
# of it; what repeats one word is so much that the last one has some of it.
SWAP_MIB, SAME_MIB = 80, 72

# While something is kept, fill the pool beyond its limit, let go of that, and page out a little more.  Prints
# how many pages of the latter were taken, and how many were written back so that there is room for them.
_OVERFULL = f"""\
cold --mib={COLD_MIB} --seconds=1 >/dev/null || exit 1
full=$({zswap.TAKEN})
cold --mib={KEPT_MIB} --seconds=1 >/dev/null || exit 1
echo $(($({zswap.TAKEN}) - full)) $(cat {zswap.WRITTEN_BACK})
"""


@workload(
    suites=["quick", "full"],
    deadline_s=240,
    single_threaded=False,
    needs=["ZSWAP", "MODULES"],
    floors={"bytes_verified": 2 * COLD_MIB << 20, "limit_hits": 10, "zs_malloc": 100, "zs_free": 100},
)
def exercise(bench: Bench) -> None:
    """Swap through zswap beyond its limit, empty it, and swap through it again."""
    guest = bench.guest
    pages_before = zram.nr_zspages(guest)
    zswap.enable(bench, max_pool_percent=str(LIMIT_PERCENT), accept_threshold_percent=str(ACCEPT_PERCENT))

    @contextlib.contextmanager
    def swapping(label: str) -> Iterator[None]:
        """Swap to the disk; nothing is left in zswap in the end."""
        guest.execute(f"swapon {disk}", deadline=bench.deadline)
        yield
        guest.execute(f"swapoff {disk}", deadline=bench.deadline)
        zram.check_residue(bench, label, pages_before)
        bench.checkpoint(label)

    def swapped(label: str, cold: str) -> int:
        """Swap something cold out and in; returns how many pages zswap took."""
        before = memory.counters(guest, "zswpout")["zswpout"]
        with swapping(label):
            run(bench, label, f"cold {cold} --seconds=1")
        return memory.counters(guest, "zswpout")["zswpout"] - before

    with modules.memdisk(bench, SWAP_MIB) as disk:
        guest.execute(f"mkswap {disk}", deadline=bench.deadline)
        for label in ("limited", "again"):
            stored = swapped(label, f"--mib={COLD_MIB}")
            bench.check(
                f"stored/{label}",
                stored > 0,
                expected="some pages",
                seen=stored,
                because="zswap takes pages while there is room in its pool, which was empty",
            )
        with swapping("kept"):
            script = zswap.while_kept(guest, KEPT_MIB, _OVERFULL)
            stored, written_back = map(int, guest.execute(script, deadline=bench.deadline).text.split())
            bench.check(
                "stored/kept",
                stored == 0 or written_back > 0,
                expected="none, or what was there is written back first",
                seen=f"{stored} pages taken, {written_back} written back",
                because="a pool that was full takes pages when it is below the threshold again",
            )
        swapped("random", f"--mib={RANDOM_MIB} --random")
        takes_any = guest.execute(f"cat {zswap.TAKES_ANY}", deadline=bench.deadline, ok=None).stdout
        if b"Y" in takes_any:
            guest.write(zswap.TAKES_ANY, "N")
        stored = swapped("same", f"--mib={SAME_MIB} --same")
        if b"Y" in takes_any:
            least = (SAME_MIB << 20) // page_bytes(guest) // 2
            bench.check(
                "stored/same",
                stored >= least,
                expected=f"{least} pages or more",
                seen=stored,
                because="a page that repeats one word needs no room in the pool",
            )
    bench.count("limit_hits", int(guest.read(zswap.LIMIT_HIT)))
