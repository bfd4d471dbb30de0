# SPDX-License-Identifier: GPL-2.0-only
"""zswap in the guest, on pools of zsmalloc."""

from __future__ import annotations

from toolkit.rig.guest import Guest
from toolkit.workload import Bench, memory, zram
from toolkit.workload.programs import page_bytes

PARAMETERS = "/sys/module/zswap/parameters"
# Whether zswap takes pages that do not repeat one word; kernels that always do have no such file.
TAKES_ANY = f"{PARAMETERS}/non_same_filled_pages_enabled"
LIMIT_HIT = "/sys/kernel/debug/zswap/pool_limit_hit"
# How many pages it refused, for there was no object for them.
REFUSED = "/sys/kernel/debug/zswap/reject_alloc_fail"
# How many pages it wrote to the swap device to make room.
WRITTEN_BACK = "/sys/kernel/debug/zswap/written_back_pages"
# The bytes of all its pools.
TOTAL_SIZE = "/sys/kernel/debug/zswap/pool_total_size"
COMPRESSOR = f"{PARAMETERS}/compressor"
# Each other one than before has zswap make a pool, and give up the one that it had, which stays for as
# long as anything is in it, and may be wanted again until then.
COMPRESSORS = ("lzo-rle", "lzo")

# How many pools of zswap there are, once a worker had the time to destroy what is given up.
_POOLS = """\
for look in $(seq 100); do
    pools=$(ls /sys/kernel/debug/zsmalloc | grep -c ^zswap)
    [ $pools -gt 1 ] || break
    sleep 0.1
done
echo $pools
"""

# How many pages zswap ever took.
TAKEN = """awk '$1 == "zswpout" { print $2 }' /proc/vmstat"""


def while_kept(guest: Guest, mib: int, script: str) -> str:
    """A script that keeps `mib` swapped out, half of it by zswap at least, while `script` runs."""
    least_pages = (mib << 20) // page_bytes(guest) // 2
    return f"""\
before=$({TAKEN})
cold --mib={mib} --seconds=600 >/dev/null &
keeper=$!
while [ $(($({TAKEN}) - before)) -lt {least_pages} ]; do sleep 0.05; done
{script}
kill $keeper
wait $keeper
true
"""


def enable(bench: Bench, **parameters: str) -> None:
    """Have zswap keep what is swapped out, in a pool that stays for ever."""
    for name, value in parameters.items():
        bench.guest.write(f"{PARAMETERS}/{name}", value)
    # Newer kernels have no other pools.
    bench.guest.execute(
        f"[ ! -e {PARAMETERS}/zpool ] || echo zsmalloc >{PARAMETERS}/zpool", deadline=bench.deadline
    )
    bench.guest.write(f"{PARAMETERS}/enabled", "1")
    bench.count("pools_kept", 1)


def expect_one_pool(bench: Bench, label: str) -> None:
    """Check that every pool that zswap gave up is gone."""
    pools = int(bench.guest.execute(_POOLS, deadline=bench.deadline).stdout)
    zram.expect(bench, f"{label}/pools", 1, pools)


def check_total_size(bench: Bench, label: str, mib: int) -> None:
    """Check what zswap says that its pools have, while the one that it gave up keeps `mib` of memory.

    It is what all of them have (zswap_update_total_size(), or zswap_total_pages(), mm/zswap.c), and
    nothing else has zspages.
    """
    guest = bench.guest
    script = f"""\
for other in {" ".join(COMPRESSORS)}; do
    [ $other = $(cat {COMPRESSOR}) ] || break
done
echo $other >{COMPRESSOR} || exit 1
cold --mib={mib} --seconds=1 >/dev/null || exit 1
cat {memory.STAT_REFRESH}
echo $(cat {TOTAL_SIZE}) $(awk '$1 == "nr_zspages" {{ print $2 }}' /proc/vmstat)
"""
    kept = while_kept(guest, mib, script)
    total_bytes, pages = map(int, guest.execute(kept, deadline=bench.deadline).text.split())
    expected_bytes = pages * page_bytes(guest)
    bench.count("total_size_pages", pages)
    bench.check(
        f"{label}/pool_total_size",
        total_bytes == expected_bytes,
        expected=expected_bytes,
        seen=total_bytes,
        because="no zspage is of anything but zswap's pools",
    )
