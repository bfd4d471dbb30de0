# SPDX-License-Identifier: GPL-2.0-only
"""The table of a pool's classes is read while the pool is destroyed, which has to wait: the classes stay."""

from toolkit.collect import zsmalloc
from toolkit.workload import Bench, race
from toolkit.workload.race import at

SEEN = "/tmp/classes"


@race.scene(floors={"holds": 2}, needs=["ZSMALLOC_STAT"])
def exercise(bench: Bench) -> None:
    """Destroy a pool while its table is read."""
    with race.stage(bench) as stage, stage.disk("mixed") as disk:
        bench.checkpoint("filled")
        table = zsmalloc.GLOB.replace("*", disk.device.name)
        classes = _classes(bench, table)
        with (
            stage.held(at("zs_stats_size_show"), by=f"dd if={table} of={SEEN} bs=64k count=1 2>/dev/null"),
            stage.held(at("zs_destroy_pool"), by=disk.reset, cpu=race.FREE) as destroyer,
        ):
            destroyer.until_idle()
        stage.finish()
        try:
            seen: object = _classes(bench, SEEN)
        except ValueError as error:
            seen = str(error)
        bench.check(
            "table",
            seen == classes,
            expected=f"a table of {len(classes)} classes",
            seen="the same classes" if seen == classes else seen,
            because="whoever has opened a file of debugfs holds up its removal",
        )
        disk.start_again()
        disk.check_sound()


def _classes(bench: Bench, path: str) -> list[tuple[int, int, int]]:
    """What a table says of each class for as long as the pool is there."""
    rows = zsmalloc.parse(bench.guest.read(path).decode()).rows
    return [(row.index, row.size, row.pages_per_zspage) for row in rows]
