# SPDX-License-Identifier: GPL-2.0-only
"""A file is removed while its pages are isolated: nobody is left to move them for, and they are free."""

from toolkit.workload import Bench, race
from toolkit.workload.programs import run
from toolkit.workload.race import at

FILE = "/dev/shm/truncated"
FILE_KIB = 8 << 10


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
        stage.check_none_isolated()
        disk.check_sound()
