# SPDX-License-Identifier: GPL-2.0-only
"""A pool is destroyed while one of its pages is being moved, and zspages wait to be freed."""

from toolkit.workload import Bench, race
from toolkit.workload.race import at


@race.scene(floors={"holds": 3, "zs_page_isolate": 1, "zs_destroy_pool": 1}, before=(6, 12))
def exercise(bench: Bench) -> None:
    """Destroy a pool while one of its pages is being moved, and zspages wait to be freed."""
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        with stage.held(at("zs_page_isolate"), by=race.COMPACT) as mover:
            mover.on_to(at("zs_page_migrate"))
            with stage.held(at("zs_destroy_pool"), by=disk.reset, cpu=race.FREE) as destroyer:
                destroyer.until_idle()
        stage.finish()
        disk.start_again()
        disk.check_sound()
