# SPDX-License-Identifier: GPL-2.0-only
"""Reclaim asks a pool that is being destroyed what it could give back."""

from toolkit.workload import Bench, race


@race.scene(floors={"holds": 1, "zs_destroy_pool": 1, "bytes_verified": 1})
def exercise(bench: Bench) -> None:
    """Shrink a pool that is being destroyed, until its shrinker is gone."""
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        with stage.held(stage.unregistering, by=disk.reset):
            bench.guest.write("/proc/sys/vm/drop_caches", "2")
        stage.finish()
        disk.start_again()
        disk.check_sound()
