# SPDX-License-Identifier: GPL-2.0-only
"""Pages are isolated, not locked: their zspages are freed, and others made in their place.

Whoever isolated them has references to the pages, and finds that they are nobody's.
"""

from toolkit.workload import Bench, race
from toolkit.workload.race import at


@race.scene(floors={"holds": 1, "zs_page_isolate": 1})
def exercise(bench: Bench) -> None:
    """Free and reuse zspages whose pages are isolated."""
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        with stage.held(at("zs_page_isolate"), by=race.COMPACT) as scanner:
            scanner.on_to(at("migrate_pages"))
            disk.discard()
            disk.write()
        stage.finish()
        disk.verify("reused")
        disk.check_sound()
