# SPDX-License-Identifier: GPL-2.0-only
"""Two find the same page: one isolates it while the other has a reference and not yet the lock."""

from toolkit.workload import Bench, race
from toolkit.workload.race import at


@race.scene(floors={"holds": 5, "zs_page_isolate": 1}, needs=["MEMORY_FAILURE"], before=(6, 12))
def exercise(bench: Bench) -> None:
    """Isolate a page that another scanner is about to lock."""
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        with stage.found_by_two() as (late, _):
            late.on_to(at("migrate_pages"))
        stage.finish()
        disk.verify("moved")
        disk.check_sound()
