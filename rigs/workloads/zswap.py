# SPDX-License-Identifier: GPL-2.0-only
"""The other user of pools: zswap keeps pages in zsmalloc before they reach the swap device."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import run

FILL_MIB = 14
LEFT_MIB = 30
SWAP = "/dev/ram0"
# To the device, and to zswap, which 7.3.4 does not count as the former.
OUT = ("pswpout", "zswpout")
PARAMETERS = "/sys/module/zswap/parameters"
# Each other one than before has zswap make a pool, and give up the one that it had.
COMPRESSORS = ("lzo-rle", "lzo", "lzo-rle")
# How many pools of zswap there are, once a worker had the time to destroy what is given up.
POOLS = """\
for look in $(seq 100); do
    pools=$(ls /sys/kernel/debug/zsmalloc | grep -c ^zswap)
    [ $pools -gt 1 ] || break
    sleep 0.1
done
echo $pools
"""


@workload(
    suites=["quick", "full"],
    deadline_s=300,
    single_threaded=False,
    needs=["ZSWAP", "BLK_DEV_RAM"],
    machine="small",
    floors={"bytes_verified": 2 * FILL_MIB << 20, "pages_swapped_out": 100, "zs_malloc": 100, "zs_free": 100},
)
def exercise(bench: Bench) -> None:
    """Swap through zswap on a pool of zsmalloc, under memory pressure."""
    guest = bench.guest
    pages_before = zram.nr_zspages(guest)
    guest.execute(
        f"[ ! -e {PARAMETERS}/zpool ] || echo zsmalloc >{PARAMETERS}/zpool", deadline=bench.deadline
    )
    guest.write(f"{PARAMETERS}/enabled", "1")
    zram.fill_backing(bench, SWAP)
    guest.execute(f"mkswap {SWAP} && swapon {SWAP}", deadline=bench.deadline)
    bench.checkpoint("on")
    before = memory.counters(guest, *OUT)
    lock_mib = max(0, memory.available_mib(guest) - LEFT_MIB)
    run(
        bench,
        "swapped",
        f"swapper --mib={FILL_MIB} --lock-mib={lock_mib} --seed={bench.seed} "
        "--threads=2 --rounds=1 --children=2",
    )
    after = memory.counters(guest, *OUT)
    bench.count("pages_swapped_out", sum(after.values()) - sum(before.values()))
    guest.execute(f"swapoff {SWAP}", deadline=bench.deadline)
    zram.check_residue(bench, "off", pages_before)
    bench.checkpoint("off")
    for compressor in COMPRESSORS:
        guest.write(f"{PARAMETERS}/compressor", compressor)
    pools = int(guest.execute(POOLS, deadline=bench.deadline).stdout)
    zram.expect(bench, "switched/pools", 1, pools)
