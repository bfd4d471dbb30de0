# SPDX-License-Identifier: GPL-2.0-only
"""Whoever compacts memory is killed, and what was isolated goes back."""

from toolkit.workload import Bench, race
from toolkit.workload.race import at

PROCESS = "/tmp/compacting"
# Of a command that SIGKILL ended, as the shell tells it that waits for it.
KILLED = 128 + 9
COMPACT = f"sh -c 'echo $$ >{PROCESS}; {race.COMPACT}'; [ $? = {KILLED} ]"
KILL = f"kill -KILL $(cat {PROCESS})"
# So often, for the free pages that are isolated at a time are fewer than what may come and go in a guest.
TURNS = 6


@race.scene(floors={"holds": 2 + 2 * TURNS, "zs_page_putback": 1, "zs_page_migrate": TURNS})
def exercise(bench: Bench) -> None:
    """Kill a process that has isolated pages: they are put back, and free are those they were to move to."""
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        for _turn in range(TURNS):
            with stage.held(at("zs_page_migrate"), by=COMPACT) as mover:
                mover.on_to(at("zs_page_isolate"))
                bench.guest.execute(KILL, deadline=bench.deadline)
            stage.finish()
        with stage.held(at("zs_page_isolate"), by=COMPACT) as mover:
            page = mover.argument(0)
            bench.guest.execute(KILL, deadline=bench.deadline)
        stage.finish()
        bench.count("compactions_killed", TURNS + 1)
        with stage.held(at("zs_page_isolate"), by=race.COMPACT) as mover:
            seen = {mover.argument(0), *stage.isolated(mover)}
        stage.finish()
        stage.check_again(page, seen)
        disk.verify("moved")
        disk.check_sound()
