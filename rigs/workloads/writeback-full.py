# SPDX-License-Identifier: GPL-2.0-only
"""The backing device is full, or fails: another zram device, whose size and whose limit are known."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import page_bytes, run

SLOTS = 160
BLOCKS = 64
UNIT = 4096
FULL, FAILED = "No space left on device", "Input/output error"


@workload(
    suites=["quick", "full"],
    deadline_s=180,
    single_threaded=True,
    machine="single",
    needs=["ZRAM", "ZRAM_WRITEBACK", "ZRAM_MEMORY_TRACKING"],
    floors={"writes": SLOTS, "bytes_verified": 3 * SLOTS * UNIT, "refused": 3, "written_back": 3},
)
def exercise(bench: Bench) -> None:
    """Write more back than a backing device takes, and to one that fails."""
    guest = bench.guest
    memory.keep_quiet(guest)
    pages_before = zram.nr_zspages(guest)
    page = page_bytes(guest)
    with zram.disk(guest, BLOCKS * page) as backing, zram.added(guest) as device:
        state = f"--device={device.device} --state=/tmp/full.state --cpu=0"
        said = backing.refuses("writeback", "huge")
        zram.expect(bench, "refused/without-a-device", "No such device", said)
        zram.check_refused(bench, "refused/itself", device, "backing_dev", device.device, "Invalid argument")
        guest.write(f"{device.sysfs}/backing_dev", backing.device)
        with zram.added(guest) as other:
            why = "Device or resource busy"
            zram.check_refused(bench, "refused/taken", other, "backing_dev", backing.device, why)
        bench.count("refused", 3)
        # The first block was never used before zram wrote several back at once.
        room = BLOCKS if device.has("writeback_batch_size") else BLOCKS - 1
        device.initialise(SLOTS * page)
        run(bench, "created", f"zblk create --slots={SLOTS} --seed={bench.seed} {state}")
        run(bench, "filled", f"zblk write --mix=random {state}")

        def write_back(label: str, *, ends: str, blocks: int, tried: int) -> None:
            """Write all back that is huge, and find so many blocks taken in the end; `tried` were written."""
            before = device.bd_stat()
            zram.expect(bench, f"{label}/ending", ends, device.refuses("writeback", "huge"))
            after = device.bd_stat()
            zram.expect(bench, f"{label}/bd_count", blocks * page // UNIT, after[0])
            zram.expect(bench, f"{label}/bd_writes", tried * page // UNIT, after[2] - before[2])
            flags = device.block_state()
            zram.expect(bench, f"{label}/written", blocks, sum("w" in one for one in flags.values()))
            zram.expect(bench, f"{label}/stored", SLOTS * page, device.mm_stat().orig_data_size)
            busy = [slot for slot, one in flags.items() if "i" in one and "w" not in one]
            zram.expect(bench, f"{label}/idle", [], busy)
            run(bench, f"{label}-verified", f"zblk verify {state}")
            bench.checkpoint(label)
            bench.count("written_back", 1)

        write_back("full", ends=FULL, blocks=room, tried=room)
        zram.expect(bench, "full/backing", room * page, backing.mm_stat().orig_data_size)
        # Blocks are free again with what they held, one by one.
        first = min(slot for slot, one in device.block_state().items() if "w" in one)
        which = f"--from={first} --to={first + room} --step=4"
        run(bench, "overwritten", f"zblk write --mix=random {which} {state}")
        again = -(-room // 4)
        zram.expect(bench, "overwritten/bd_count", (room - again) * page // UNIT, device.bd_stat()[0])
        # A block that is written again takes new memory before it gives back the old, of which there is none.
        guest.write(f"{backing.sysfs}/mem_limit", str(page))
        write_back("failing", ends=FAILED, blocks=room - again, tried=0)
        guest.write(f"{backing.sysfs}/mem_limit", "0")
        write_back("mended", ends=FULL, blocks=room, tried=again)
        run(bench, "emptied", f"zblk discard {state}")
        zram.expect(bench, "emptied/bd_count", 0, device.bd_stat()[0])
        zram.check_emptied(bench, "emptied", device)
        device.reset()
        zram.expect(bench, "reset/bd_stat", (0, 0, 0), device.bd_stat())
        zram.expect(bench, "reset/backing_dev", "none", device.attribute("backing_dev"))
        backing.reset()
    zram.check_residue(bench, "removed", pages_before)
