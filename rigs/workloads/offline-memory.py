# SPDX-License-Identifier: GPL-2.0-only
"""Memory is taken offline block by block, and everything in it has to go elsewhere."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import CHURN, Report, run, run_together

DISK_BYTES = 32 << 20
SECONDS = 6

# Takes each block of movable memory offline and online again, {seconds} long and once at least.
# A page that somebody holds for a moment stops it, so a block that is refused is tried again.
# Prints how often it was done, and the blocks that were refused.
_CYCLE = """
cd {directory}
done=0 refused='' until=$(( $(cut -d. -f1 /proc/uptime) + {seconds} ))
while :; do
    for block in $(grep -l '^Movable' memory*/valid_zones | cut -d/ -f1); do
        tries={tries}
        while [ $tries -gt 0 ] && ! echo offline 2>/dev/null >$block/state; do
            tries=$((tries - 1)); sleep 0.1
        done
        if [ $tries -gt 0 ]; then
            done=$((done + 1)); echo online_movable >$block/state || exit 1
        else
            refused="$refused $block"
        fi
    done
    [ $(cut -d. -f1 /proc/uptime) -lt $until ] || break
done
echo '{{"offlined": '$done', "refused": "'$refused'"}}'
"""


@workload(
    suites=["quick", "full"],
    deadline_s=300,
    single_threaded=False,
    needs=["ZRAM", "MEMORY_HOTREMOVE", "MIGRATION", "MODULES"],
    machine="movable",
    floors={"offlined": 6, "movable_blocks": 1, "zs_page_migrate": 500, "bytes_verified": 2 * DISK_BYTES},
)
def exercise(bench: Bench) -> None:
    """Take movable memory offline and online again, a zram disk in it, at rest and under load."""
    guest = bench.guest
    # Some hold what the firmware or the boot left there.
    empty = run(bench, "empty", _cycle(0, tries=3))
    stuck = _refused(empty)
    bench.count("movable_blocks", empty.number("offlined"))
    # Those would be used first, now that all others were freed last: fill them.
    ballast_mib = len(stuck) * int(guest.read(f"{memory.BLOCKS}/block_size_bytes"), 16) >> 20
    guest.execute(
        f"dd if=/dev/zero of=/dev/shm/ballast bs=1M count={ballast_mib} 2>/dev/null", deadline=bench.deadline
    )
    with zram.known_disk(bench, DISK_BYTES) as disk:
        disk.run("filled", "write --mix=mixed --batch=16")
        bench.checkpoint("filled")

        # Twice: what is driven out of a block that stays, goes to the others.
        for turn in ("first", "second"):
            report = run(bench, f"cycled-{turn}", _cycle(0, tries=10))
            bench.check(
                f"offline/{turn}",
                _refused(report) <= stuck,
                expected=f"{empty.number('offlined')} blocks, but for {sorted(stuck) or 'none'}",
                seen=f"{report.number('offlined')}, but for {sorted(_refused(report)) or 'none'}",
                because="what could be taken offline while it was empty can be again: all in it can be moved",
            )
            disk.settle(turn)

        run_together(
            bench,
            {
                "churned": f"{CHURN} --writers=2 --readers=1 --seconds={SECONDS} {disk.options}",
                "busy": _cycle(SECONDS, tries=1),
                "compacting": f"poke --seconds={SECONDS} --every-ms=300 {disk.device.sysfs}/compact",
            },
        )
        disk.settle("churned")


def _cycle(seconds: int, *, tries: int) -> str:
    return _CYCLE.format(directory=memory.BLOCKS, seconds=seconds, tries=tries)


def _refused(report: Report) -> set[str]:
    return set(report.values["refused"].split())
