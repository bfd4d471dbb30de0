# SPDX-License-Identifier: GPL-2.0-only
"""A backing device fails to write and to read: nothing that is stored is lost, and nothing else is read."""

from toolkit.workload import Bench, memory, modules, workload, zram
from toolkit.workload.programs import page_bytes, run

SLOTS = 64
# Of those, that are read while reading fails.
READS = 16
UNIT = 4096
BACKING_MIB = 8
PARAMETERS = "/sys/module/memdisk/parameters"
FAILED = "Input/output error"


@workload(
    suites=["quick", "full"],
    deadline_s=120,
    single_threaded=True,
    machine="single",
    needs=["ZRAM", "ZRAM_WRITEBACK", "MODULES"],
    floors={"writes": SLOTS, "bytes_verified": 3 * SLOTS * UNIT},
)
def exercise(bench: Bench) -> None:
    """Write a zram disk back to a device that fails, and read it from there while that fails."""
    guest = bench.guest
    memory.keep_quiet(guest)
    pages_before = zram.nr_zspages(guest)
    page = page_bytes(guest)
    with modules.memdisk(bench, BACKING_MIB) as backing, zram.added(guest) as device:
        state = f"--device={device.device} --state=/tmp/failing.state --cpu=0"
        guest.write(f"{device.sysfs}/backing_dev", backing)
        device.initialise(SLOTS * page)
        run(bench, "created", f"zblk create --slots={SLOTS} --seed={bench.seed} {state}")
        run(bench, "filled", f"zblk write --mix=random {state}")

        def write_back(label: str, *, ends: str, blocks: int) -> None:
            """Write all back that is huge, and find so many blocks taken."""
            zram.expect(bench, f"{label}/ending", ends, device.refuses("writeback", "huge"))
            zram.expect(bench, f"{label}/bd_count", blocks * page // UNIT, device.bd_stat()[0])
            zram.expect(bench, f"{label}/huge_pages", SLOTS - blocks, device.mm_stat().huge_pages)
            run(bench, f"{label}-verified", f"zblk verify {state}")
            bench.checkpoint(label)

        guest.write(f"{PARAMETERS}/fail_writes", "1")
        write_back("unwritten", ends=FAILED, blocks=0)
        guest.write(f"{PARAMETERS}/fail_writes", "0")
        write_back("written", ends="", blocks=SLOTS)

        guest.write(f"{PARAMETERS}/fail_reads", "1")
        reads = f"dd if={device.device} of=/dev/null bs={page} iflag=direct count=1 2>/dev/null"
        failed = guest.execute(
            f"for slot in $(seq {READS}); do {reads} skip=$slot || echo $slot; done", deadline=bench.deadline
        ).text.split()
        zram.expect(bench, "unread/failed", READS, len(failed))
        guest.write(f"{PARAMETERS}/fail_reads", "0")
        run(bench, "read-again-verified", f"zblk verify {state}")
        zram.expect(bench, "read-again/bd_count", SLOTS * page // UNIT, device.bd_stat()[0])
        run(bench, "emptied", f"zblk discard {state}")
        zram.expect(bench, "emptied/bd_count", 0, device.bd_stat()[0])
        zram.check_emptied(bench, "emptied", device)
    zram.check_residue(bench, "removed", pages_before)
