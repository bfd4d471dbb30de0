# SPDX-License-Identifier: GPL-2.0-only
"""A page is isolated while an object of its pool is allocated: both count in words of a zspage."""

import re

from toolkit.workload import Bench, race
from toolkit.workload.race import at

# Of struct zspage: how many of its pages are isolated, in one word with how full it is.  What has a word of
# its own for that need not wait.
SHARES_A_WORD = re.compile(r"\bisolated:\w+;")


@race.scene(floors={"holds": 2, "zs_page_isolate": 1}, before=(6, 12))
def exercise(bench: Bench) -> None:
    """Isolate a page of a pool while an object is allocated there."""
    with race.stage(bench) as stage, stage.disk("random") as disk:
        page = stage.page_array().physical(stage.moved_to())
        with stage.held(at("obj_malloc"), by=disk.command("write", "--mix=random")):
            with stage.held(at("zs_page_isolate"), by=race.soft_offline(page), cpu=race.FREE) as mover:
                waits = mover.spins_before(at("migrate_pages"))
            source = stage.symbols.compiled("mm/zsmalloc.c").source
            if SHARES_A_WORD.search(source.read_text(encoding="utf-8")):
                bench.check(
                    "pool-lock",
                    waits,
                    expected="who isolates a page waits for its pool",
                    seen="it waits" if waits else "it came to migrate_pages()",
                    because="how many pages of a zspage are isolated shares a word with its fullness",
                )
        stage.finish()
        disk.check_sound()
