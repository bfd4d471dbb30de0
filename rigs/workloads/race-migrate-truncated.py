# SPDX-License-Identifier: GPL-2.0-only
"""A file is removed while its pages are isolated: nobody is left to move them for, and they are free."""

from toolkit.workload import Bench, memory, race
from toolkit.workload.programs import run
from toolkit.workload.race import at

FILE = "/dev/shm/truncated"
FILE_KIB = 8 << 10
ISOLATED = ("nr_isolated_anon", "nr_isolated_file")


@race.scene(floors={"holds": 3, "bytes_verified": 1})
def exercise(bench: Bench) -> None:
    """Remove a file some of whose pages are isolated to be moved."""
    guest = bench.guest
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        pages = stage.page_array()
        guest.execute(f"head -c {FILE_KIB}k /dev/urandom >{FILE}", deadline=bench.deadline)
        frames = set(run(bench, "frames", f"frames {FILE}").values["frames"])
        with stage.held(at("migrate_pages"), by=race.COMPACT) as mover:
            while frames.isdisjoint(pages.physical(page) // pages.page for page in mover.listed()):
                mover.on_to(at("migrate_pages"))
            guest.execute(f"rm {FILE}", deadline=bench.deadline)
        stage.finish()
        left = memory.counters(guest, *ISOLATED)
        bench.check(
            "isolated",
            not any(left.values()),
            expected="none",
            seen=str(left),
            because="what nobody uses any more is not isolated any more either",
        )
        disk.check_sound()
