# SPDX-License-Identifier: GPL-2.0-only
"""A scanner locks a page of a zspage that was freed; while it has the lock, others are made in its place."""

from toolkit.workload import Bench, race


@race.scene(floors={"holds": 2, "bytes_verified": 1}, before=(6, 12))
def exercise(bench: Bench) -> None:
    """Free the page that a scanner found before it has the lock, and reuse it when it has."""
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        with stage.held(stage.locking, by=race.COMPACT) as scanner:
            disk.discard()
            scanner.on_to(race.LOOKING)
            disk.write()
        stage.finish()
        disk.verify("reused")
        disk.check_sound()
