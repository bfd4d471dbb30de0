# SPDX-License-Identifier: GPL-2.0-only
"""zswap in the guest, on pools of zsmalloc."""

from __future__ import annotations

from toolkit.workload import Bench, zram

PARAMETERS = "/sys/module/zswap/parameters"
# Whether zswap takes pages that do not repeat one word; kernels that always do have no such file.
TAKES_ANY = f"{PARAMETERS}/non_same_filled_pages_enabled"
LIMIT_HIT = "/sys/kernel/debug/zswap/pool_limit_hit"
# How many pages it refused, for there was no object for them.
REFUSED = "/sys/kernel/debug/zswap/reject_alloc_fail"
# How many pages it wrote to the swap device to make room.
WRITTEN_BACK = "/sys/kernel/debug/zswap/written_back_pages"
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
