# SPDX-License-Identifier: GPL-2.0-only
"""The other user of pools: zswap keeps pages in zsmalloc before they reach the swap device."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import page_bytes, run_together

FILL_MIB = 14
LEFT_MIB = 30
SWAP = "/dev/ram0"
CPU = "/sys/devices/system/cpu/cpu1"
# To the device, and to zswap, which 7.3.4 does not count as the former.
OUT = ("pswpout", "zswpout")
PARAMETERS = "/sys/module/zswap/parameters"
# Each other one than before has zswap make a pool, and give up the one that it had, which stays for as
# long as anything is in it, and may be wanted again until then.
COMPRESSORS = ("lzo-rle", "lzo")
ROUNDS = 10
_SWITCH = f"""\
for turn in $(seq {ROUNDS}); do
    for compressor in {" ".join(COMPRESSORS)}; do
        echo $compressor >{PARAMETERS}/compressor || exit 1
        sleep 0.1
    done
done
echo '{{"cycles": '{ROUNDS}'}}'
"""
# How many pools of zswap there are, once a worker had the time to destroy what is given up.
_POOLS = """\
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
    needs=["ZSWAP", "BLK_DEV_RAM", "HOTPLUG_CPU"],
    machine="small",
    floors={
        "bytes_verified": 3 * FILL_MIB << 20,
        "pages_swapped_out": 300,
        "zs_malloc": 300,
        "zs_free": 300,
        "cycles": ROUNDS,
    },
)
def exercise(bench: Bench) -> None:
    """Swap through zswap on pools of zsmalloc that come and go, and where a processor goes, too."""
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

    def swapped(label: str, children: int = 0, **beside: str) -> None:
        program = memory.swapper(bench, mib=FILL_MIB, left_mib=LEFT_MIB, children=children)
        run_together(bench, {label: program, **beside})

    swapped("swapped", children=2)
    swapped("switched", switching=_SWITCH)
    # One processor makes a pool, and goes.
    for compressor in COMPRESSORS:
        guest.execute(
            f"taskset 2 sh -c 'echo {compressor} >{PARAMETERS}/compressor'", deadline=bench.deadline
        )
    guest.write(f"{CPU}/online", "0")
    swapped("left-alone")
    # Has SLUB look whether a buffer was used after it was freed: if so, the kernel complains.
    guest.write(f"/sys/kernel/slab/kmalloc-{2 * page_bytes(guest) >> 10}k/validate", "1")
    guest.write(f"{CPU}/online", "1")

    after = memory.counters(guest, *OUT)
    bench.count("pages_swapped_out", sum(after.values()) - sum(before.values()))
    guest.execute(f"swapoff {SWAP}", deadline=bench.deadline)
    zram.check_residue(bench, "off", pages_before)
    bench.checkpoint("off")
    _expect_one_pool(bench, "switched")
    # The pool that stays is one that nothing ever was in.
    guest.write(f"{PARAMETERS}/compressor", COMPRESSORS[0])
    _expect_one_pool(bench, "emptied")
    bench.count("pools_kept", 1)


def _expect_one_pool(bench: Bench, label: str) -> None:
    pools = int(bench.guest.execute(_POOLS, deadline=bench.deadline).stdout)
    zram.expect(bench, f"{label}/pools", 1, pools)
