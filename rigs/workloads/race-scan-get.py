# SPDX-License-Identifier: GPL-2.0-only
"""A scanner has found a page of a zspage, which is freed before it has a reference, and reused."""

from toolkit.workload import Bench, race
from toolkit.workload.race import at

GETTING = ("folio_try_get", "get_page_unless_zero")


@race.scene(floors={"holds": 1, "bytes_verified": 1}, before=(6, 12))
def exercise(bench: Bench) -> None:
    """Free and reuse the page that a scanner found, before it has a reference."""
    found = at(race.ISOLATE, file="mm/migrate.c", line=GETTING)
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        with stage.held(found, by=race.COMPACT):
            disk.discard()
            disk.write()
        stage.finish()
        disk.verify("reused")
        disk.check_sound()
