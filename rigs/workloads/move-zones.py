# SPDX-License-Identifier: GPL-2.0-only
"""Zspages are moved from one zone to another, and counted where they are."""

from toolkit.collect import zoneinfo
from toolkit.rig.guest import Guest
from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import page_bytes, run

# More than the zone for movable pages has.
DISK_BYTES = 72 << 20
# Some of them stay in their zone, where processes leave free pages behind as they end.
MOST_OFFLINED = 450


@workload(
    suites=["quick", "full"],
    deadline_s=240,
    single_threaded=True,
    needs=["ZRAM", "HWPOISON_INJECT", "PROC_PAGE_MONITOR"],
    machine="zones",
    floors={"offlined": 40, "crossed": 15, "bytes_verified": DISK_BYTES // 2},
)
def exercise(bench: Bench) -> None:
    """Move pages of a zram disk between zones, one by one."""
    guest = bench.guest
    memory.keep_quiet(guest)
    page = page_bytes(guest)
    with zram.known_disk(bench, DISK_BYTES, "--cpu=0") as disk:
        # The movable zone gets full of it: what has to leave a place there goes to another zone.
        disk.run("filled", "write --mix=random --batch=16")
        bench.checkpoint("filled")
        disk.run("thinned", "discard --batch=16 --step=2")
        # What is free in the movable zone now is filled again: on each processor, for each has a list
        # of free pages of its own.
        (movable,) = [zone for zone in zoneinfo.read(guest) if "Movable" in zone.label]
        count = movable.pages["free"] + sum(movable.on_lists)
        for cpu in (0, 1):
            guest.execute(
                f"taskset -c {cpu} dd if=/dev/zero of=/dev/shm/{cpu} bs={page} count={count} 2>/dev/null",
                deadline=bench.deadline,
            )
        before = _zspages(guest)
        pages = min(MOST_OFFLINED, before[movable.label] // 2)
        run(
            bench,
            "offlined",
            f"offline --pages={pages} --tries={20 * pages} --seed={bench.seed}"
            f" --first-frame={movable.frames[0]} --last-frame={movable.frames[-1]}",
        )
        after = _zspages(guest)
        guest.execute("rm /dev/shm/0 /dev/shm/1", deadline=bench.deadline)
        grown = {zone: after[zone] - before[zone] for zone in after}
        crossed = sum(pages for pages in grown.values() if pages > 0)
        bench.count("crossed", crossed)
        bench.check(
            "zones/moved",
            sum(grown.values()) == 0 and crossed <= pages,
            expected=f"as many as before in all, {pages} elsewhere at the most",
            seen=", ".join(f"{zone} {pages:+}" for zone, pages in grown.items()),
            because="a page that moves is counted in the zone where it is",
        )
        disk.settle("offlined")
        disk.empty("discard --batch=16")
        zram.expect(bench, "zones/emptied", {}, {zone: n for zone, n in _zspages(guest).items() if n})


def _zspages(guest: Guest) -> dict[str, int]:
    """Pages of zspages by zone."""
    return {zone.label: zone.nr_zspages for zone in zoneinfo.read(guest)}
