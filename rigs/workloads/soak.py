# SPDX-License-Identifier: GPL-2.0-only
"""Everything at once, for as long as it is given: whatever moves, frees or wants zspages."""

import itertools
import os

from toolkit.collect import zoneinfo
from toolkit.deadline import Deadline
from toolkit.rig.guest import Guest
from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import page_bytes, run, run_beside

DISK_BYTES = 16 << 20
RESET_BYTES = 2 << 20
# `pageless run --minutes` says how long.
MINUTES = float(os.environ.get("PAGELESS_SOAK_MINUTES", "30"))
# A round ends in checks; it also is what a failure is narrowed down to.
ROUND_S = 60
# What happens in so many seconds the trace's buffers hold, with room to spare.
DRAIN_S = 10

# Contiguous memory is taken piece by piece and given back; a processor goes offline and comes back; the
# pages of zspages are taken out of use, where memory does not go offline: in stock kernels memory with such
# a page never would (offline-poisoned), and the flags of its pages cannot be read meanwhile.  All may be
# refused for a while.
_CONTIGUOUS = """
cd /sys/kernel/debug/cma/*/
n=0 piece=$(( $(cat count) / 32 ))
while {going}; do
    now=0
    while [ $((now + piece)) -le $(cat count) ] && echo $piece 2>/dev/null >alloc; do
        now=$((now + piece))
    done
    [ $now = 0 ] || echo $now >free || exit 1
    n=$((n + 1)); sleep 1
done
echo '{{"contiguous": '$n'}}'
"""
_PROCESSOR = """
n=0
while {going}; do
    echo 0 >{cpu}/online && echo 1 >{cpu}/online || exit 1
    n=$((n + 1)); sleep 3
done
echo '{{"processors": '$n'}}'
"""
_OFFLINE = """
n=0
while {going}; do
    offline --pages=4 --tries=40 --seed=$((n + {seed})) --last-frame={last} >/dev/null || exit 1
    n=$((n + 1)); sleep 2
done
echo '{{"offline_rounds": '$n'}}'
"""
_GOING = "[ $(cut -d. -f1 /proc/uptime) -lt $until ]"
CPU = "/sys/devices/system/cpu/cpu1"


@workload(
    suites=["soak"],
    deadline_s=MINUTES * 60 * 2 + 600,
    single_threaded=False,
    needs=[
        "ZRAM",
        "CMA_DEBUGFS",
        "DMA_CMA",
        "HOTPLUG_CPU",
        "HWPOISON_INJECT",
        "ZRAM_WRITEBACK",
        "BLK_DEV_RAM",
        "MEMORY_HOTREMOVE",
        "MODULES",
    ],
    machine="soak",
    # What a single round does on a slow host: a soak may be short.
    floors={
        "rounds": 1,
        "contiguous": 1,
        "offlined": 1,
        "processors": 2,
        "offline_rounds": 1,
        "resets": 2,
        "cycles": 1,
        "bytes_verified": 2 * DISK_BYTES,
        "zs_page_migrate": 400,
    },
)
def exercise(bench: Bench) -> None:
    """Churn, reset, compact, move and write back zram disks, all at once and for long."""
    guest = bench.guest
    pages_before = zram.nr_zspages(guest)
    page = page_bytes(guest)
    slots = zram.slots_for(guest, DISK_BYTES)
    small = zram.slots_for(guest, RESET_BYTES, at_least=128) * page
    zram.fill_backing(bench, "/dev/ram0")
    seconds = min(ROUND_S, int(MINUTES * 60))
    first_removable = _first_removable(guest)
    enough = Deadline.after(MINUTES * 60)
    with (
        zram.disk(guest, slots * page) as kept,
        zram.added(guest) as written,
        zram.disk(guest, small) as lost,
    ):
        guest.write(f"{written.sysfs}/backing_dev", "/dev/ram0")
        written.initialise(slots * page)
        states = {}
        for name, device in (("kept", kept), ("written", written)):
            states[name] = f"--device={device.device} --state=/tmp/{name}.state"
            run(bench, f"{name}-created", f"zblk create --slots={slots} --seed={bench.seed} {states[name]}")
        for turn in itertools.count():
            _round(bench, turn, seconds, states, (kept, written, lost), small, first_removable - 1)
            bench.count("rounds", 1)
            for name, device in (("kept", kept), ("written", written)):
                report = run(bench, f"{name}-verified-{turn}", f"zblk verify {states[name]}")
                zram.expect(
                    bench, f"accounting/{name}-{turn}", report.number("stored") * page,
                    device.mm_stat().orig_data_size,
                )  # fmt: skip
                zram.check_io_errors(bench, f"{name}-{turn}", device)
            bench.checkpoint(f"round-{turn}")
            if enough.passed:
                break
    zram.check_residue(bench, "removed", pages_before)


def _round(
    bench: Bench,
    turn: int,
    seconds: int,
    states: dict[str, str],
    devices: tuple[zram.ZramDevice, zram.ZramDevice, zram.ZramDevice],
    small: int,
    last_frame: int,
) -> None:
    guest = bench.guest
    kept, written, lost = devices
    seed = bench.seed + 1000 * turn
    poke = f"poke --seconds={seconds}"
    begin = f"until=$(( $(cut -d. -f1 /proc/uptime) + {seconds} ))\n"
    loops = {
        "contiguous": _CONTIGUOUS.format(going=_GOING),
        "processors": _PROCESSOR.format(going=_GOING, cpu=CPU),
        "offline_rounds": _OFFLINE.format(going=_GOING, seed=seed, last=last_frame),
    }
    commands = {
        # Readers of a slot that is written back look it up without its lock: that disk has none.
        "kept": f"zblk churn --mix=churn --writers=2 --readers=1 --seconds={seconds} {states['kept']}",
        "written": f"zblk churn --mix=churn --writers=2 --readers=0 --seconds={seconds} {states['written']}",
        "lost": f"zreset --device={lost.device} --sysfs={lost.sysfs} --disksize={small} --seed={seed} "
        f"--seconds={seconds} --users=2 --resetters=1",
        "fragmented": f"fragment --mib={memory.available_mib(guest) // 8} --seconds={seconds} --hold-ms=300 "
        f"--cycles=1 --compact={memory.COMPACT}",
        "compacting": f"{poke} --every-ms=300 {kept.sysfs}/compact {written.sysfs}/compact",
        "idle": f"{poke} --every-ms=70 --value=all {written.sysfs}/idle",
        "writing": f"{poke} --every-ms=110 --value=idle {written.sysfs}/writeback",
        "blocks": memory.cycle_blocks(seconds, tries=1, patience_s=30, pause_s=2),
        **{name: begin + loop for name, loop in loops.items()},
    }

    def drain() -> None:
        for _ in range(seconds // DRAIN_S):
            guest.execute(f"sleep {DRAIN_S}", deadline=bench.deadline)
            bench.drain()

    reports = run_beside(bench, {f"{name}-{turn}": command for name, command in commands.items()}, drain)
    for name in loops:
        bench.count(name, reports[f"{name}-{turn}"].number(name))


def _first_removable(guest: Guest) -> int:
    """The frame where the memory begins that goes offline."""
    zones = zoneinfo.read(guest)
    return min(zone.frames[0] for zone in zones if zone.frames and "Movable" in zone.label)
