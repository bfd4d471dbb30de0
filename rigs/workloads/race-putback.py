# SPDX-License-Identifier: GPL-2.0-only
"""Moving a page fails: it goes back, and can be isolated again."""

import errno

from toolkit.workload import Bench, race
from toolkit.workload.race import at

# The page is behind the scanner when it is put back: the next pass comes to it.
TWO_PASSES = f"{race.COMPACT}; {race.COMPACT}"


@race.scene(floors={"holds": 2, "zs_page_putback": 1}, before=(6, 12))
def exercise(bench: Bench) -> None:
    """Put a page back that could not be moved, and find it again."""
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        with stage.held(at("zs_page_migrate"), by=TWO_PASSES) as mover:
            page = mover.argument(1)
            mover.fail(errno.EBUSY)
            put_back = mover.comes_to(at("zs_page_putback"))
            bench.check(
                "put-back",
                put_back,
                expected="the page goes back",
                seen="it does" if put_back else "nothing comes to zs_page_putback()",
                because="a page that could not be moved does not stay isolated",
            )
            if put_back:
                stage.must_be_the_same(page, mover.argument(0))
                stage.check_again(page, stage.isolated(mover))
        stage.finish()
        disk.verify("moved")
        disk.check_sound()
