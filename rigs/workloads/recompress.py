# SPDX-License-Identifier: GPL-2.0-only
"""What zram stores is compressed once more by a second algorithm, and takes less."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import page_bytes, run

DISK_BYTES = 8 << 20
# Of these pages the second makes a few bytes less, which for some is a smaller size class.
FIRST, SECOND = "lzo-rle", "lz4"


@workload(
    suites=["quick", "full"],
    deadline_s=180,
    single_threaded=True,
    machine="single",
    needs=["ZRAM", "ZRAM_MULTI_COMP", "ZRAM_BACKEND_LZ4", "ZRAM_BACKEND_LZO"],
    floors={"writes": 512, "bytes_verified": 2 * DISK_BYTES, "recompressed": 100},
)
def exercise(bench: Bench) -> None:
    """Recompress what a zram disk stores, all that is idle or huge, and read it back."""
    guest = bench.guest
    memory.keep_quiet(guest)
    pages_before = zram.nr_zspages(guest)
    slots = zram.slots_for(guest, DISK_BYTES)
    with zram.added(guest) as device:
        state = f"--device={device.device} --state=/tmp/recompress.state --cpu=0"
        guest.write(f"{device.sysfs}/recomp_algorithm", f"algo={SECOND} priority=1")
        device.initialise(slots * page_bytes(guest), FIRST)
        run(bench, "created", f"zblk create --slots={slots} --seed={bench.seed} {state}")
        report = run(bench, "filled", f"zblk write --mix=spread {state}")
        zram.check_accounting(bench, "filled", device, report)
        bench.checkpoint("filled")

        for what in ("huge", "idle"):
            before = zram.check_accounting(bench, f"{what}-before", device, report)
            guest.write(f"{device.sysfs}/idle", "all")
            said = device.refuses("recompress", f"type={what}")
            zram.expect(bench, f"recompress/{what}/ending", "", said)
            after = zram.check_accounting(bench, what, device, report)
            bench.check(
                f"recompress/{what}/compr_data_size",
                after.compr_data_size <= before.compr_data_size,
                expected=f"at most {before.compr_data_size}",
                seen=after.compr_data_size,
                because="an object is replaced by a smaller one only",
            )
            bench.checkpoint(f"recompressed-{what}")
            run(bench, f"verified-{what}", f"zblk verify {state}")
        again = sum("r" in flags for flags in device.block_state().values())
        bench.count("recompressed", again)

        report = run(bench, "overwritten", f"zblk write --mix=mixed --step=3 {state}")
        zram.check_accounting(bench, "overwritten", device, report)
        flagged = [slot for slot, flags in device.block_state().items() if "r" in flags and not slot % 3]
        zram.expect(bench, "recompress/overwritten/flags", [], flagged)
        bench.checkpoint("overwritten")
        run(bench, "emptied", f"zblk discard {state}")
        zram.check_emptied(bench, "emptied", device)
        zram.check_io_errors(bench, "all", device)
    zram.check_residue(bench, "removed", pages_before)
