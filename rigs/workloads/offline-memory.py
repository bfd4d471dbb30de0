# SPDX-License-Identifier: GPL-2.0-only
"""Memory is taken offline block by block, and everything in it has to go elsewhere."""

import json
import shlex

from toolkit.collect import zoneinfo
from toolkit.rig.guest import Guest
from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import CHURN, Report, page_bytes, run, run_together

DISK_BYTES = 32 << 20
SECONDS = 6
# Held by a pipe: the memory that they are in cannot go offline, and what was isolated for that goes back.
PINNED = 64
PATIENCE_S = 2
# Pages of zspages in the movable zone, and how many of them stay there.
LEAST_MOVABLE = 100
STAYED = 0.9


@workload(
    suites=["quick", "full"],
    deadline_s=600,
    single_threaded=False,
    needs=["ZRAM", "MEMORY_HOTREMOVE", "MIGRATION", "MODULES"],
    machine="movable",
    floors={
        "offlined": 6, "movable_blocks": 1, "refused_blocks": 1, "kernel_blocks": 1, "kernel_blocks_last": 1,
        "zs_page_migrate": 500, "bytes_verified": 2 * DISK_BYTES,
    },
)  # fmt: skip
def exercise(bench: Bench) -> None:
    """Take movable memory offline and online again, a zram disk in it, at rest and under load."""
    guest = bench.guest
    present = _present(guest)
    # Some hold what the firmware or the boot left there.
    empty = run(bench, "empty", memory.cycle_blocks(tries=3))
    bench.count("movable_blocks", empty.number("offlined"))
    _check_watermarks(bench, empty)
    memory.fill_refused_blocks(bench, empty)
    with zram.known_disk(bench, DISK_BYTES) as disk:
        disk.run("filled", "write --mix=mixed --batch=16")
        bench.checkpoint("filled")
        in_movable = _movable_zspages(guest)
        bench.check(
            "zones/movable",
            in_movable >= LEAST_MOVABLE,
            expected=f"{LEAST_MOVABLE} pages or more",
            seen=in_movable,
            because="zspages can be moved, and the movable zone has room for them",
        )

        # Twice: what is driven out of a block that stays, goes to the others.
        for turn in ("first", "second"):
            has_room = _rest_has_room(guest)
            report = run(bench, f"cycled-{turn}", memory.cycle_blocks(tries=10))
            memory.check_blocks(bench, turn, report, empty)
            left = _movable_zspages(guest)
            if has_room:
                bench.check(
                    f"zones/{turn}",
                    left >= in_movable * STAYED,
                    expected=f"{in_movable} pages, or nearly",
                    seen=left,
                    because="what has to leave a block of the movable zone goes to another, which has room",
                )
            disk.settle(turn)

        # Where the kernel's own memory is, it stays, and all of it is as it was.
        memory.cycle_kernel_blocks(bench, patience_s=PATIENCE_S)
        disk.settle("kernel-blocks")

        refused = f"({memory.cycle_blocks(tries=1, patience_s=PATIENCE_S)}) >/tmp/refused"
        run(bench, "pinned", f"pinned --pages={PINNED} --meanwhile={shlex.quote(refused)}")
        blocks = json.loads(guest.read("/tmp/refused"))
        bench.count("refused_blocks", len(blocks["refused"].split()))
        disk.settle("pinned")

        run_together(
            bench,
            {
                "churned": f"{CHURN} --writers=2 --readers=1 --seconds={SECONDS} {disk.options}",
                "busy": memory.cycle_blocks(SECONDS, tries=1),
                "compacting": f"poke --seconds={SECONDS} --every-ms=300 {disk.device.sysfs}/compact",
            },
        )
        disk.settle("churned")
    zram.expect(bench, "zones/present", present, _present(guest))


def _check_watermarks(bench: Bench, empty: Report) -> None:
    """Take one block offline that can be: its zone has less memory, and less of that is kept back."""
    guest = bench.guest
    movable = f"grep -l '^Movable' {memory.BLOCKS}/memory*/valid_zones"
    names = [path.split("/")[-2] for path in guest.execute(movable, deadline=bench.deadline).text.split()]
    for block in [name for name in names if name not in memory.refused_blocks(empty)][:1]:
        state = f"{memory.BLOCKS}/{block}/state"
        before = _kept_back(guest)
        # A page that somebody holds for a moment stops it.
        again = f"until echo offline 2>/dev/null >{state}; do sleep 0.1; done"
        guest.execute(again, deadline=bench.deadline)
        during = _kept_back(guest)
        guest.write(state, "online_movable")
        bench.check(
            "zones/watermark",
            during < before,
            expected=f"less than {before} pages kept back",
            seen=during,
            because="a zone keeps back a share, by its size",
        )


def _kept_back(guest: Guest) -> int:
    """Pages of movable zones that are not for everybody, but for what is kept back for a while only."""
    zones = (zone.pages for zone in zoneinfo.read(guest) if zone.name == "Movable" and zone.pages["present"])
    return sum(zone["min"] - zone["boost"] for zone in zones)


def _present(guest: Guest) -> int:
    """Pages that are online."""
    return sum(zone.pages["present"] for zone in zoneinfo.read(guest))


def _rest_has_room(guest: Guest) -> bool:
    """Whether what a block of the movable zone has fits into the others, above what is kept free there.

    Not with KASAN, whose shadow of all memory is in that zone.
    """
    movable = [
        zone.pages for zone in zoneinfo.read(guest) if zone.name == "Movable" and zone.pages["present"]
    ]
    block = memory.block_bytes(guest) // page_bytes(guest)
    return sum(zone["free"] - zone["high"] for zone in movable) > block


def _movable_zspages(guest: Guest) -> int:
    """Pages of zspages in the movable zone."""
    return sum(zone.nr_zspages for zone in zoneinfo.read(guest) if zone.name == "Movable")
