# SPDX-License-Identifier: GPL-2.0-only
"""Swap on a zram disk that is written back meanwhile: pages come back from the backing device."""

from toolkit.workload import Bench, memory, modules, workload, zram
from toolkit.workload.programs import page_bytes, run_together

FILL_MIB = 14
LEFT_MIB = 24
BACKING_MIB = 16
UNIT = 4096
SECONDS = 12
# Seen once in hundreds of runs: all is swapped out and in within a second, before anything is written back.
READ_BACK, TURNS = 20, 3
# Until then zram is asked for pages of swap by themselves, which no backing device can give.
NO_RW_PAGE = (6, 3)


@workload(
    suites=["quick", "full"],
    deadline_s=300,
    single_threaded=False,
    needs=["ZRAM", "SWAP", "ZRAM_WRITEBACK", "ZRAM_MEMORY_TRACKING", "MODULES"],
    machine="small",
    floors={"bytes_verified": 2 * FILL_MIB << 20, "pages_swapped_out": 100, "read_back": READ_BACK},
)
def exercise(bench: Bench) -> None:
    """Swap to zram under memory pressure while it writes back what it has."""
    guest = bench.guest
    pages_before = zram.nr_zspages(guest)
    page = page_bytes(guest)
    with modules.memdisk(bench, BACKING_MIB) as backing, zram.added(guest) as device:
        guest.write(f"{device.sysfs}/backing_dev", backing)
        device.initialise(4 * FILL_MIB << 20)
        with zram.swap(bench, device):
            before = memory.counters(guest, "pswpout")["pswpout"]
            poke = f"poke --seconds={SECONDS}"
            for turn in range(TURNS):
                run_together(
                    bench,
                    {
                        f"swapped-{turn}": memory.swapper(bench, mib=FILL_MIB, left_mib=LEFT_MIB, children=2),
                        f"idle-{turn}": f"{poke} --every-ms=60 --value=all {device.sysfs}/idle",
                        f"written-{turn}": f"{poke} --every-ms=90 --value=idle {device.sysfs}/writeback",
                    },
                )
                reads = device.bd_stat()[1] * UNIT // page
                if reads >= READ_BACK:
                    break
            bench.count("pages_swapped_out", memory.counters(guest, "pswpout")["pswpout"] - before)
            bench.count("read_back", reads)
            failed = device.io_stat()
            version = tuple(map(int, guest.read("/proc/sys/kernel/osrelease").decode().split(".")[:2]))
            zram.expect(bench, "io/failed_reads", reads if version < NO_RW_PAGE else 0, failed[0])
            zram.expect(bench, "io/failed_writes", 0, failed[1])
        zram.expect(bench, "io/inflight", ["0", "0"], device.attribute("inflight").split())
        missed = device.debug_stat().miss_free
        left = sum("w" in flags for flags in device.block_state().values())
        zram.expect(bench, "accounting/bd_count", left * page // UNIT, device.bd_stat()[0])
        bench.check(
            "accounting/written-slots",
            left <= missed + 1,
            expected=f"at most {missed + 1}",
            seen=left,
            because="each slot frees its block, but for those that zram counts as missed, and the header",
        )
        bench.checkpoint("off")
    zram.check_residue(bench, "removed", pages_before)
