# SPDX-License-Identifier: GPL-2.0-only
"""Zspages are moved from one node, or what is one zone of it at least, to another."""

from toolkit.collect import zoneinfo
from toolkit.rig.guest import Guest
from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import page_bytes, run

DISK_BYTES = 32 << 20
# Less than that is left of the zone that is used first: the rest of the disk goes elsewhere, and so does
# what moves, when each processor has used up what it keeps for itself of that zone.
LEFT_MIB = 14
OFFLINED = 800
# So many are moved once more when their zone has room.
STAYED = 100
# The processor of the second node.
FAR = 1


@workload(
    suites=["full"],
    deadline_s=240,
    single_threaded=True,
    needs=["ZRAM", "HWPOISON_INJECT", "PROC_PAGE_MONITOR", "NUMA"],
    machine="nodes",
    floors={"offlined": OFFLINED + STAYED, "crossed": 100, "bytes_verified": DISK_BYTES},
)
def exercise(bench: Bench) -> None:
    """Move pages of a zram disk to another node or zone, one by one, for theirs is full."""
    guest = bench.guest
    memory.keep_quiet(guest)
    first = [zone for zone in zoneinfo.read(guest) if zone.pages["present"]][-1]
    ballast_mib = max(0, (first.pages["free"] * page_bytes(guest) >> 20) - LEFT_MIB)
    guest.execute(
        f"taskset -c {FAR} dd if=/dev/zero of=/dev/shm/ballast bs=1M count={ballast_mib} 2>/dev/null",
        deadline=bench.deadline,
    )
    with zram.known_disk(bench, DISK_BYTES, f"--cpu={FAR}") as disk:
        disk.run("filled", "write --mix=random --batch=16")
        bench.checkpoint("filled")
        before = _zspages(guest)
        _offline(bench, "offlined", OFFLINED, first.frames)
        after = _zspages(guest)
        crossed = before[first.label] - after[first.label]
        bench.count("crossed", crossed)
        bench.check(
            "nodes/moved",
            sum(after.values()) == sum(before.values()) and crossed <= OFFLINED,
            expected=f"{sum(before.values())} in all, at most {OFFLINED} fewer in {first.label}",
            seen=f"{sum(after.values())}, {crossed} fewer",
            because="a page that moves is counted where it is",
        )
        disk.settle("offlined")
        guest.execute("rm /dev/shm/ballast", deadline=bench.deadline)
        _offline(bench, "stayed", STAYED, first.frames)
        stayed = _zspages(guest)
        bench.check(
            "nodes/stayed",
            stayed == after,
            expected=after,
            seen=stayed,
            because="what moves stays in a zone that has room",
        )
        # They are freed from the other side, too.
        near = disk.options.replace(f"--cpu={FAR}", f"--cpu={1 - FAR}")
        run(bench, "emptied", f"zblk discard --batch=16 {near}")
        zram.check_emptied(bench, "emptied", disk.device)
        zram.expect(bench, "nodes/emptied", 0, sum(_zspages(guest).values()))
        zram.check_io_errors(bench, "all", disk.device)
        bench.checkpoint("emptied")


def _offline(bench: Bench, label: str, pages: int, frames: range) -> None:
    """Move so many pages out of those frames, or less if they have no more."""
    run(
        bench,
        label,
        f"offline --pages={pages} --tries={20 * pages} --seed={bench.seed}"
        f" --first-frame={frames[0]} --last-frame={frames[-1]}",
    )


def _zspages(guest: Guest) -> dict[str, int]:
    """Pages of zspages by zone."""
    return {zone.label: zone.nr_zspages for zone in zoneinfo.read(guest)}
