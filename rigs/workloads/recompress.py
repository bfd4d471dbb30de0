# SPDX-License-Identifier: GPL-2.0-only
"""What zram stores is compressed once more by a second algorithm, and takes less."""

from toolkit.rig.guest import Guest
from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import page_bytes, run

DISK_BYTES = 8 << 20
# Of these pages the second makes a few bytes less, which for some is a smaller size class.
FIRST, SECOND = "lzo-rle", "lz4"
# The second is as the first: it tells what a device that was reset still knows of before.
ROUNDS = 2
# An age that is not less than the time since boot selects nothing, and changes nothing, in 7.3: a guest
# is older than its first slot by this.
OLDER_S = 2


@workload(
    suites=["quick", "full"],
    deadline_s=240,
    single_threaded=True,
    machine="single",
    needs=["ZRAM", "ZRAM_MULTI_COMP", "ZRAM_MEMORY_TRACKING", "ZRAM_BACKEND_LZ4", "ZRAM_BACKEND_LZO"],
    floors={
        "writes": 1024, "bytes_verified": 4 * DISK_BYTES, "recompressed": 100, "incompressible": 100,
    },
)  # fmt: skip
def exercise(bench: Bench) -> None:
    """Recompress what a zram disk stores, all that is idle or huge, and read it back."""
    guest = bench.guest
    memory.keep_quiet(guest)
    pages_before = zram.nr_zspages(guest)
    slots = zram.slots_for(guest, DISK_BYTES)
    guest.execute(f"sleep {OLDER_S}", deadline=bench.deadline)
    with zram.added(guest) as device:
        state = f"--device={device.device} --state=/tmp/recompress.state --cpu=0"
        first: dict[str, dict[int, str]] = {}
        for turn in range(ROUNDS):
            guest.write(f"{device.sysfs}/recomp_algorithm", f"algo={SECOND} priority=1")
            device.initialise(slots * page_bytes(guest), FIRST)
            run(bench, f"created-{turn}", f"zblk create --slots={slots} --seed={bench.seed} {state}")
            began_s = _uptime_s(guest)
            report = run(bench, f"filled-{turn}", f"zblk write --mix=spread {state}")
            zram.check_accounting(bench, f"filled-{turn}", device, report)
            bench.checkpoint(f"filled-{turn}")

            guest.write(f"{device.sysfs}/idle", "all")
            guest.write(f"{device.sysfs}/idle", str(int(_uptime_s(guest) - began_s) + 1))
            idle = [slot for slot, flags in device.block_state().items() if "i" in flags]
            zram.expect(bench, f"idle/younger-{turn}", [], idle)
            for label, request in (
                ("algorithm", "type=huge algo=none-of-them"),
                ("priority", f"type=huge algo={FIRST}"),
                ("threshold", f"type=huge threshold={page_bytes(guest)}"),
                ("nothing", "type="),
            ):
                said = device.refuses("recompress", request)
                zram.expect(bench, f"recompress/refused-{turn}/{label}", "Invalid argument", said)

            for what in ("huge", "idle"):
                label = f"{what}-{turn}"
                before = zram.check_accounting(bench, f"{label}-before", device, report)
                guest.write(f"{device.sysfs}/idle", "all")
                said = device.refuses("recompress", f"type={what}")
                zram.expect(bench, f"recompress/{label}/ending", "", said)
                after = zram.check_accounting(bench, label, device, report)
                bench.check(
                    f"recompress/{label}/compr_data_size",
                    after.compr_data_size <= before.compr_data_size,
                    expected=f"at most {before.compr_data_size}",
                    seen=after.compr_data_size,
                    because="an object is replaced by a smaller one only",
                )
                flagged = device.block_state()
                _expect_alike(bench, f"recompress/{label}/flags", first.setdefault(what, flagged), flagged)
                bench.checkpoint(f"recompressed-{label}")
                run(bench, f"verified-{label}", f"zblk verify {state}")
            for letter, name in (("r", "recompressed"), ("n", "incompressible")):
                bench.count(name, sum(letter in flags for flags in device.block_state().values()))

            report = run(bench, f"overwritten-{turn}", f"zblk write --mix=mixed --step=3 {state}")
            zram.check_accounting(bench, f"overwritten-{turn}", device, report)
            left = [
                slot
                for slot, flags in device.block_state().items()
                if {"r", "n"} & set(flags) and not slot % 3
            ]
            zram.expect(bench, f"recompress/overwritten-{turn}/flags", [], left)
            bench.checkpoint(f"overwritten-{turn}")
            run(bench, f"emptied-{turn}", f"zblk discard {state}")
            zram.check_emptied(bench, f"emptied-{turn}", device)
            zram.check_io_errors(bench, f"all-{turn}", device)
            device.reset()
            zram.check_forgotten(bench, f"reset-{turn}", device)
    zram.check_residue(bench, "removed", pages_before)


def _uptime_s(guest: Guest) -> float:
    return float(guest.read("/proc/uptime").split()[0])


def _expect_alike(bench: Bench, name: str, first: dict[int, str], flags: dict[int, str]) -> None:
    """The same content has the same flags as it had in the first round."""
    differ = [slot for slot in first.keys() | flags.keys() if first.get(slot) != flags.get(slot)]
    zram.expect(bench, name, [], sorted(differ))
