# SPDX-License-Identifier: GPL-2.0-only
"""Memory is taken offline block by block, and everything in it has to go elsewhere."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import CHURN, run, run_together

DISK_BYTES = 32 << 20
SECONDS = 6


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
    # Some hold what the firmware or the boot left there.
    empty = run(bench, "empty", memory.cycle_blocks(tries=3))
    bench.count("movable_blocks", empty.number("offlined"))
    memory.fill_refused_blocks(bench, empty)
    with zram.known_disk(bench, DISK_BYTES) as disk:
        disk.run("filled", "write --mix=mixed --batch=16")
        bench.checkpoint("filled")

        # Twice: what is driven out of a block that stays, goes to the others.
        for turn in ("first", "second"):
            report = run(bench, f"cycled-{turn}", memory.cycle_blocks(tries=10))
            memory.check_blocks(bench, turn, report, empty)
            disk.settle(turn)

        run_together(
            bench,
            {
                "churned": f"{CHURN} --writers=2 --readers=1 --seconds={SECONDS} {disk.options}",
                "busy": memory.cycle_blocks(SECONDS, tries=1),
                "compacting": f"poke --seconds={SECONDS} --every-ms=300 {disk.device.sysfs}/compact",
            },
        )
        disk.settle("churned")
