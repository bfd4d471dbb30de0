# SPDX-License-Identifier: GPL-2.0-only
"""The other user of pools: zswap keeps pages in zsmalloc before they reach the swap device."""

from toolkit.workload import Bench, memory, modules, workload, zram, zswap
from toolkit.workload.programs import run_together

FILL_MIB = 14
# What the pool keeps that was given up.
KEPT_MIB = 4
LEFT_MIB = 30
SWAP_MIB = 16
# So much that reclaim put a page back on its list before it is written out: the interrupt takes lru_lock.
# In 7.3 zswap keeps what does not compress, too, and nothing is written out.
LATENCY_US = 15000
CPU = "/sys/devices/system/cpu/cpu1"
# To the device, and to zswap, which 7.3.4 does not count as the former.
OUT = ("pswpout", "zswpout")
ROUNDS = 10
COMPACTION_S = 4
_SWITCH = f"""\
for turn in $(seq {ROUNDS}); do
    for compressor in {" ".join(zswap.COMPRESSORS)}; do
        echo $compressor >{zswap.COMPRESSOR} || exit 1
        sleep 0.1
    done
done
echo '{{"cycles": '{ROUNDS}'}}'
"""


@workload(
    suites=["quick", "full"],
    deadline_s=300,
    single_threaded=False,
    needs=["ZSWAP", "COMPACTION", "MODULES", "HOTPLUG_CPU"],
    machine="small",
    floors={
        "bytes_verified": 3 * FILL_MIB << 20,
        "pages_swapped_out": 300,
        "zs_malloc": 300,
        "zs_free": 300,
        "cycles": ROUNDS,
        "total_size_pages": 100,
        "mm_compaction_begin": 3,
    },
)
def exercise(bench: Bench) -> None:
    """Swap through zswap on pools of zsmalloc that come and go, and where a processor goes, too."""
    guest = bench.guest
    pages_before = zram.nr_zspages(guest)
    zswap.enable(bench)
    with modules.memdisk(bench, SWAP_MIB, latency_us=LATENCY_US) as disk:
        guest.execute(f"mkswap {disk} && swapon {disk}", deadline=bench.deadline)
        bench.checkpoint("on")
        before = memory.counters(guest, *OUT)

        def swapped(label: str, children: int = 0, **beside: str) -> None:
            program = memory.swapper(bench, mib=FILL_MIB, left_mib=LEFT_MIB, children=children)
            compacting = f"poke --seconds={COMPACTION_S} --every-ms=200 {memory.COMPACT}"
            run_together(bench, {label: program, "compacting": compacting, **beside})

        swapped("swapped", children=2)
        swapped("switched", switching=_SWITCH)
        # One processor makes a pool, and goes.
        for compressor in zswap.COMPRESSORS:
            guest.execute(f"taskset 2 sh -c 'echo {compressor} >{zswap.COMPRESSOR}'", deadline=bench.deadline)
        guest.write(f"{CPU}/online", "0")
        swapped("left-alone")
        # Whether a buffer was used after it was freed.
        memory.validate_slabs(bench)
        guest.write(f"{CPU}/online", "1")
        zswap.check_total_size(bench, "given-up", KEPT_MIB)

        after = memory.counters(guest, *OUT)
        bench.count("pages_swapped_out", sum(after.values()) - sum(before.values()))
        guest.execute(f"swapoff {disk}", deadline=bench.deadline)
    zram.check_residue(bench, "off", pages_before)
    zswap.expect_one_pool(bench, "switched")
    bench.checkpoint("off")
    # The pool that stays is one that nothing ever was in.
    guest.write(zswap.COMPRESSOR, zswap.COMPRESSORS[0])
    zswap.expect_one_pool(bench, "emptied")
