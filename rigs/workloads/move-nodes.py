# SPDX-License-Identifier: GPL-2.0-only
"""Zspages are moved from one node, or what is one zone of it at least, to another."""

from toolkit.collect import zoneinfo
from toolkit.rig.guest import Guest
from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import run

# More than a node has; what each processor keeps for itself of its pages is used up first.
DISK_BYTES = 80 << 20
OFFLINED = 300
# The processor of the second node.
FAR = 1


@workload(
    suites=["full"],
    deadline_s=240,
    single_threaded=True,
    needs=["ZRAM", "MEMORY_FAILURE", "PROC_PAGE_MONITOR", "NUMA"],
    machine="nodes",
    floors={"offlined": OFFLINED, "crossed": 40, "bytes_verified": DISK_BYTES},
)
def exercise(bench: Bench) -> None:
    """Move pages of a zram disk to another node or zone, one by one, for theirs is full."""
    guest = bench.guest
    memory.keep_quiet(guest)
    with zram.known_disk(bench, DISK_BYTES, f"--cpu={FAR}") as disk:
        disk.run("filled", "write --mix=random --batch=16")
        bench.checkpoint("filled")
        before = _zspages(guest)
        theirs = max(before, key=before.__getitem__)
        run(bench, "offlined", f"offline --pages={OFFLINED} --tries={20 * OFFLINED} --seed={bench.seed}")
        after = _zspages(guest)
        crossed = before[theirs] - after[theirs]
        bench.count("crossed", crossed)
        bench.check(
            "nodes/moved",
            sum(after.values()) == sum(before.values()) and crossed <= OFFLINED,
            expected=f"{sum(before.values())} in all, at most {OFFLINED} fewer in {theirs}",
            seen=f"{sum(after.values())}, {crossed} fewer",
            because="a page that moves is counted where it is",
        )
        disk.settle("offlined")
        # They are freed from the other side, too.
        near = disk.options.replace(f"--cpu={FAR}", f"--cpu={1 - FAR}")
        run(bench, "emptied", f"zblk discard --batch=16 {near}")
        zram.check_emptied(bench, "emptied", disk.device)
        zram.expect(bench, "nodes/emptied", 0, sum(_zspages(guest).values()))
        zram.check_io_errors(bench, "all", disk.device)
        bench.checkpoint("emptied")


def _zspages(guest: Guest) -> dict[str, int]:
    """Pages of zspages by zone."""
    return {zone.label: zone.nr_zspages for zone in zoneinfo.read(guest)}
