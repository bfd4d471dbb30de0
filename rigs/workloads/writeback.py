# SPDX-License-Identifier: GPL-2.0-only
"""What zram stores is written to a backing device, read from there, overwritten and discarded."""

from toolkit.workload import Bench, memory, modules, workload, zram
from toolkit.workload.programs import Report, page_bytes, run

# The backing device has 16 MiB: a block that is not given back is missed in the third round.
DISK_BYTES = 6 << 20
ROUNDS = 3
BACKING = "/dev/ram0"
OTHER_MIB = 1
REFUSED = "/tmp/refused"
LIMIT = 40
UNIT = 4096
# By the kernel's age.
BEYOND = ("Invalid argument", "Numerical result out of range")
# More than any guest has been up.
LONG_AGO_S = "1000000"


@workload(
    suites=["quick", "full"],
    deadline_s=240,
    single_threaded=True,
    machine="single",
    needs=["ZRAM", "ZRAM_WRITEBACK", "ZRAM_MEMORY_TRACKING", "BLK_DEV_RAM", "MODULES"],
    floors={"writes": 1024, "bytes_verified": 4 * DISK_BYTES, "written_back": 1000},
)
def exercise(bench: Bench) -> None:
    """Write a zram disk back to a backing device in every manner, and read it from there."""
    guest = bench.guest
    memory.keep_quiet(guest)
    pages_before = zram.nr_zspages(guest)
    page = page_bytes(guest)
    slots = zram.slots_for(guest, DISK_BYTES, at_least=128)
    with zram.added(guest) as device:
        state = f"--device={device.device} --state=/tmp/writeback.state --cpu=0"
        # In pages, as everything below.
        written = 0

        def on_disk() -> tuple[int, int, int]:
            count, reads, writes = (number * UNIT // page for number in device.bd_stat())
            return count, reads, writes

        def write_back(label: str, what: str, pages: int, *, ends: str = "") -> None:
            """Write back, and find that so many more pages are there, and no others."""
            nonlocal written
            before = on_disk()[0]
            said = device.refuses("writeback", what)
            zram.expect(bench, f"writeback/{label}/ending", ends, said)
            written += pages
            bench.count("written_back", pages)
            zram.expect(bench, f"writeback/{label}/bd_count", before + pages, on_disk()[0])
            zram.expect(bench, f"writeback/{label}/bd_writes", written, on_disk()[2])
            memory.validate_slabs(bench)

        def accounted(label: str, report: Report) -> None:
            """What block_state says of each slot, all slots together, against what mm_stat counts."""
            stat = device.mm_stat()
            flags = list(device.block_state().values())
            whole, pieces = (device.block_state_text(lines).splitlines() for lines in (0, 2))
            zram.expect(bench, f"block_state/{label}/in-pieces", whole, pieces)
            zram.expect(bench, f"accounting/{label}/stored", report.number("stored"), len(flags))
            zram.expect(bench, f"accounting/{label}/orig_data_size", len(flags) * page, stat.orig_data_size)
            for letter, counted in (("s", stat.same_pages), ("h", stat.huge_pages), ("w", on_disk()[0])):
                # What was huge says so still where it is written back, in 7.3.4.
                seen = sum(letter in one and (letter == "w" or "w" not in one) for one in flags)
                zram.expect(bench, f"accounting/{label}/block_state/{letter}", counted, seen)

        def refused(label: str, value: str, why: str) -> None:
            zram.check_refused(bench, f"backing_dev/{label}", device, "backing_dev", value, why)

        def refused_whatever_there_is(state: str) -> None:
            refused(f"{state}/file", "/init", "Block device required")
            refused(f"{state}/absent", "/a", "No such file or directory")
            # What has no size is nobody's afterwards, or it could not be removed.
            with zram.added(guest) as sizeless:
                refused(f"{state}/sizeless", sizeless.device, "Invalid argument")

        zram.expect(bench, "backing_dev/none", "none", device.attribute("backing_dev"))
        refused_whatever_there_is("unset")
        # What was refused is closed again.
        mounted = f"{REFUSED}/file"
        guest.execute(
            f"mkdir {REFUSED} && mount -t tmpfs none {REFUSED} && echo >{mounted}", deadline=bench.deadline
        )
        refused("mounted", mounted, "Block device required")
        unmounted = guest.execute(f"umount {REFUSED}", deadline=bench.deadline, ok=None)
        zram.expect(bench, "backing_dev/unmounted", "", unmounted.stderr.decode())
        zram.expect(bench, "writeback/early", "Invalid argument", device.refuses("writeback", "huge"))
        zram.fill_backing(bench, BACKING)
        # Whoever never got a size gives it back, too: it is somebody else's afterwards.
        with modules.memdisk(bench, OTHER_MIB) as other, zram.added(guest) as unsized:
            guest.write(f"{unsized.sysfs}/backing_dev", BACKING)
            unsized.reset()
            zram.expect(bench, "backing_dev/reset-early", "none", unsized.attribute("backing_dev"))
            zram.expect(bench, "backing_dev/again", "", unsized.refuses("backing_dev", BACKING))
            zram.expect(bench, "backing_dev/replaced", "", unsized.refuses("backing_dev", other))
            with zram.added(guest) as heir:
                zram.expect(bench, "backing_dev/given-up", "", heir.refuses("backing_dev", BACKING))
        guest.write(f"{device.sysfs}/backing_dev", BACKING)
        zram.expect(bench, "backing_dev/set", BACKING, device.attribute("backing_dev"))
        refused_whatever_there_is("set")
        device.initialise(slots * page)
        refused("late", "/init", "Device or resource busy")
        run(bench, "created", f"zblk create --slots={slots} --seed={bench.seed} {state}")

        for turn in range(ROUNDS):
            began_s = zram.outlive(device)
            report = run(bench, f"filled-{turn}", f"zblk write --mix=mixed {state}")
            zram.check_accounting(bench, f"filled-{turn}", device, report)
            accounted(f"filled-{turn}", report)
            bench.checkpoint(f"filled-{turn}")
            unused = [slot for slot, used_s in device.accessed().items() if used_s < began_s]
            zram.expect(bench, f"filled-{turn}/accessed", [], unused)

            huge = device.mm_stat().huge_pages
            write_back(f"huge-{turn}", "huge", huge)
            accounted(f"huge-{turn}", report)
            zram.expect(bench, f"accounting/huge-{turn}/left", 0, device.mm_stat().huge_pages)
            read_before = on_disk()[1]
            run(bench, f"huge-verified-{turn}", f"zblk verify {state}")
            zram.expect(bench, f"writeback/huge-{turn}/bd_reads", read_before + huge, on_disk()[1])
            bench.checkpoint(f"huge-{turn}")

            zram.expect(bench, f"idle-{turn}/words", "Invalid argument", device.refuses("idle", "some"))
            zram.expect(bench, f"idle-{turn}/age", "", device.refuses("idle", LONG_AGO_S))
            old = [slot for slot, flags in device.block_state().items() if "i" in flags and "w" not in flags]
            zram.expect(bench, f"idle-{turn}/long-ago", [], old)

            # Both at once: what is huge and idle, neither what is only one of both.
            report = run(
                bench, f"huger-{turn}", f"zblk write --mix=random --to={slots // 4} --step=2 {state}"
            )
            zram.outlive(device)
            guest.write(f"{device.sysfs}/idle", "0")
            zram.expect(bench, f"idle-{turn}/now", [], _without("i", device))
            run(bench, f"huge-used-{turn}", f"zblk verify --to={slots // 8} --step=2 {state}")
            both = [slot for slot, flags in device.block_state().items() if {"h", "i"} <= set(flags)]
            write_back(f"huge-idle-{turn}", "huge_idle", len(both))
            left = [slot for slot, flags in device.block_state().items() if slot in both and "w" not in flags]
            zram.expect(bench, f"writeback/huge-idle-{turn}/left", [], left)
            write_back(f"huge-rest-{turn}", "huge", slots // 8 // 2)
            zram.expect(
                bench, f"writeback/nonsense-{turn}", "Invalid argument", device.refuses("writeback", "all")
            )

            # Of all that is idle the first half is used again; what is same-filled stays.
            guest.write(f"{device.sysfs}/idle", "all")
            idle = device.block_state()
            zram.expect(bench, f"idle-{turn}/left-out", [], _without("i", device))
            began_s = zram.outlive(device)
            run(bench, f"half-{turn}", f"zblk verify --to={slots // 2} {state}")
            late = [
                slot
                for slot, used_s in device.accessed().items()
                if (used_s >= began_s) != (slot < slots // 2)
            ]
            zram.expect(bench, f"accessed-{turn}", [], late)
            still = [
                slot for slot, flags in device.block_state().items() if "i" in flags and "w" not in flags
            ]
            zram.expect(bench, f"idle-{turn}/accessed", [], [slot for slot in still if slot < slots // 2])
            same = [slot for slot, flags in idle.items() if "s" in flags]
            pages = len([slot for slot in still if slot not in same])

            guest.write(f"{device.sysfs}/writeback_limit_enable", "1")
            guest.write(f"{device.sysfs}/writeback_limit", str(LIMIT * page // UNIT))
            enabled = device.attribute("writeback_limit_enable")
            zram.expect(bench, f"writeback/limited-{turn}/enabled", "1", enabled)
            write_back(f"limited-{turn}", "idle", LIMIT, ends="Input/output error")
            zram.expect(bench, f"writeback/limited-{turn}/left", "0", device.attribute("writeback_limit"))
            guest.write(f"{device.sysfs}/writeback_limit_enable", "0")
            # What is not enabled is not used up either.
            guest.write(f"{device.sysfs}/writeback_limit", str(LIMIT))
            write_back(f"idle-{turn}", "idle", pages - LIMIT)
            enabled = device.attribute("writeback_limit_enable")
            zram.expect(bench, f"writeback/unlimited-{turn}/enabled", "0", enabled)
            unused = device.attribute("writeback_limit")
            zram.expect(bench, f"writeback/unlimited-{turn}/left", str(LIMIT), unused)
            stored = device.block_state()
            # One slot by its number: neither its neighbours nor what is there already.
            alone = next((slot for slot, flags in stored.items() if flags in ("", "i")), None)
            if alone is not None:
                write_back(f"one-{turn}", f"page_index={alone}", 1)
                write_back(f"one-again-{turn}", f"page_index={alone}", 0)
            said = device.refuses("writeback", f"page_index={slots}")
            zram.expect(bench, f"writeback/beyond-{turn}", True, said in BEYOND)
            accounted(f"idle-{turn}", report)
            run(bench, f"idle-verified-{turn}", f"zblk verify {state}")
            run(bench, f"idle-verified-batched-{turn}", f"zblk verify --batch=16 {state}")
            bench.checkpoint(f"idle-{turn}")

            report = run(
                bench, f"overwritten-{turn}", f"zblk write --mix=mixed --io-bytes={UNIT} --step=3 {state}"
            )
            accounted(f"overwritten-{turn}", report)
            run(bench, f"overwritten-verified-{turn}", f"zblk verify {state}")
            run(bench, f"thinned-{turn}", f"zblk discard --step=3 {state}")
            kept = [slot for slot in range(slots) if slot % 3]
            zram.expect(bench, f"block_state/thinned-{turn}", kept, list(device.block_state()))
            run(bench, f"emptied-{turn}", f"zblk discard {state}")
            zram.expect(bench, f"writeback/emptied-{turn}/bd_count", 0, on_disk()[0])
            zram.check_emptied(bench, f"emptied-{turn}", device)
            bench.checkpoint(f"emptied-{turn}")
        zram.check_io_errors(bench, "all", device)
        device.reset()
        zram.expect(bench, "backing_dev/reset", "none", device.attribute("backing_dev"))
        # Whoever wants it for himself gets it again.
        guest.write(f"{device.sysfs}/backing_dev", BACKING)
        zram.expect(bench, "backing_dev/again", BACKING, device.attribute("backing_dev"))
        device.initialise(slots * page)
        run(bench, "again-created", f"zblk create --slots={slots} --seed={bench.seed} {state}")
        run(bench, "again-filled", f"zblk write --mix=random --to={slots // 4} {state}")
        written = 0
        write_back("again", "huge", slots // 4)
        run(bench, "again-verified", f"zblk verify {state}")
    zram.check_residue(bench, "removed", pages_before)


def _without(flag: str, device: zram.ZramDevice) -> list[int]:
    """The slots whose pages are in the pool and have no such flag.

    Newer kernels leave out what is same-filled, too.
    """
    stored = device.block_state().items()
    return [slot for slot, flags in stored if not {"s", "w", flag} & set(flags)]
