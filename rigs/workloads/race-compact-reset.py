# SPDX-License-Identifier: GPL-2.0-only
"""A pool is compacted by sysfs while its device is reset, which has to wait: the pool stays until then."""

from toolkit.workload import Bench, race
from toolkit.workload.race import at


@race.scene(floors={"holds": 2, "bytes_verified": 1})
def exercise(bench: Bench) -> None:
    """Reset a disk while its pool is compacted."""
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        disk.discard("--step=2")
        with (
            stage.held(at("zs_compact"), by=f"echo 1 >{disk.device.sysfs}/compact"),
            stage.held(at("reset_store"), by=disk.reset, cpu=race.FREE) as resetter,
        ):
            waits = resetter.has_to_wait(race.IDLE)
        stage.finish()
        bench.check(
            "waits",
            waits,
            expected="a reset that waits",
            seen="the same" if waits else "one that did not",
            because="who compacts a pool has the device's lock",
        )
        disk.start_again()
        disk.check_sound()
