# SPDX-License-Identifier: GPL-2.0-only
"""A scanner has a reference to a page of a zspage, not its lock: it is freed, and used again."""

from toolkit.workload import Bench, race


@race.scene(floors={"holds": 1, "bytes_verified": 1}, before=(6, 13))
def exercise(bench: Bench) -> None:
    """Free and reuse the page that a scanner found, before it has the lock."""
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        with stage.held(stage.locking, by=race.COMPACT):
            disk.discard()
            disk.write()
        stage.finish()
        disk.verify("reused")
        disk.check_sound()
