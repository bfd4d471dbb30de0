# SPDX-License-Identifier: GPL-2.0-only
"""Slots are overwritten and discarded while they are marked idle and written to the backing device."""

from toolkit.workload import Bench, modules, workload, zram
from toolkit.workload.programs import CHURN, page_bytes, run, run_together

DISK_BYTES = 6 << 20
SECONDS = 5
BACKING_MIB = 16
UNIT = 4096

# What newer kernels say to one who writes back while another does.
IN_TURN = "Resource temporarily unavailable"


@workload(
    suites=["quick", "full"],
    deadline_s=240,
    single_threaded=False,
    needs=["ZRAM", "ZRAM_WRITEBACK", "ZRAM_MEMORY_TRACKING", "MODULES"],
    floors={"writes": 400, "discards": 50, "bytes_verified": DISK_BYTES, "written_back": 200},
)
def exercise(bench: Bench) -> None:
    """Overwrite and discard a zram disk while it is written back."""
    guest = bench.guest
    pages_before = zram.nr_zspages(guest)
    page = page_bytes(guest)
    slots = zram.slots_for(guest, DISK_BYTES, at_least=128)
    with modules.memdisk(bench, BACKING_MIB) as backing, zram.added(guest) as device:
        state = f"--device={device.device} --state=/tmp/busy.state"
        guest.write(f"{device.sysfs}/backing_dev", backing)
        device.initialise(slots * page)
        run(bench, "created", f"zblk create --slots={slots} --seed={bench.seed} {state}")
        run(bench, "filled", f"zblk write --mix=mixed {state}")
        poke = f"poke --seconds={SECONDS}"
        # No readers: a slot that is read while it goes to the device is looked up there without its lock.
        reports = run_together(
            bench,
            {
                "churned": f"{CHURN} --writers=3 --readers=0 --seconds={SECONDS} {state}",
                "idle": f"{poke} --every-ms=7 --value=all {device.sysfs}/idle",
                "written": f"{poke} --every-ms=11 --value=idle {device.sysfs}/writeback",
                "huge": f"{poke} --every-ms=13 --value=huge {device.sysfs}/writeback",
                "compacting": f"{poke} --every-ms=50 {device.sysfs}/compact",
            },
        )
        for name in ("idle", "written", "huge", "compacting"):
            said = reports[name].values["last_error"]
            zram.expect(bench, f"poked/{name}", "", "" if said == IN_TURN else said)
        count, _reads, writes = device.bd_stat()
        bench.count("written_back", writes * UNIT // page)
        report = run(bench, "verified", f"zblk verify {state}")
        zram.expect(
            bench, "accounting/stored", report.number("stored") * page, device.mm_stat().orig_data_size
        )
        flags = device.block_state().values()
        zram.expect(bench, "accounting/bd_count", sum("w" in one for one in flags) * page // UNIT, count)
        zram.expect(bench, "accounting/same", device.mm_stat().same_pages, sum("s" in one for one in flags))
        zram.check_io_errors(bench, "all", device)
        bench.checkpoint("churned")

        # Whatever was left in the middle of it can be written back now, and be freed.
        guest.write(f"{device.sysfs}/idle", "all")
        guest.write(f"{device.sysfs}/writeback", "idle")
        left = [slot for slot, one in device.block_state().items() if "w" not in one and "s" not in one]
        zram.expect(bench, "accounting/left", [], left)
        run(bench, "written-verified", f"zblk verify {state}")
        run(bench, "emptied", f"zblk discard {state}")
        zram.expect(bench, "emptied/bd_count", 0, device.bd_stat()[0])
        zram.check_emptied(bench, "emptied", device)
        bench.checkpoint("emptied")
    zram.check_residue(bench, "removed", pages_before)
