# SPDX-License-Identifier: GPL-2.0-only
"""Each parser says what the kernel's text says, and refuses what it does not know."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from toolkit.collect import (
    buddyinfo,
    meminfo,
    pagetypeinfo,
    shrinker,
    slabinfo,
    snapshot,
    vmstat,
    zoneinfo,
    zram,
    zsmalloc,
)
from toolkit.collect.collector import collectors
from toolkit.deadline import Deadline
from toolkit.run import run

TAKEN = snapshot.parse((Path(__file__).parents[1] / "data" / "snapshot" / "6.1-x86_64.frames").read_bytes())
CLASSES = TAKEN["/sys/kernel/debug/zsmalloc/zram0/classes"]

# The layout of 6.4 and later, shortened to two classes.
CLASSES_6_12 = """\
 class  size       10%       20%       99%      100% obj_allocated   obj_used pages_used pages_per_zspage freeable
     0    32         1         2         0         3           768        500          6                1        1
   254  4096         0         0         0         7             7          7          7                1        0

 Total               1         2         0        10           775        507         13                         1
"""  # noqa: E501  # as the kernel prints it


def test_vmstat_of_two_captures_can_be_compared_by_name() -> None:
    counters = vmstat.parse(TAKEN["/proc/vmstat"])
    assert counters["nr_zspages"] == 272
    assert counters["pgmigrate_success"] > 0


def test_a_counter_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a counter: 'nr_zspages many'"):
        vmstat.parse("nr_zspages many\n")
    with pytest.raises(ValueError, match="no counter at all"):
        vmstat.parse("")
    with pytest.raises(ValueError, match="a is there twice"):
        vmstat.parse("a 1\na 2\n")


def test_a_zone_has_its_own_counters_apart_from_its_node_and_its_cpus() -> None:
    zone, empty, *_ = zoneinfo.parse(TAKEN["/proc/zoneinfo"])
    assert (empty.name, empty.stats, empty.nr_zspages) == ("Normal", {}, 0)
    assert (zone.node, zone.name, zone.nr_zspages) == (0, "DMA32", 272)
    assert zone.pages == {
        "free": 112341,
        "boost": 0,
        "min": 703,
        "low": 878,
        "high": 1053,
        "spanned": 131038,
        "present": 130941,
        "managed": 125061,
        "cma": 0,
    }
    assert zone.stats["nr_free_pages"] == 112341
    assert "nr_anon_pages" not in zone.stats
    assert "count" not in zone.stats
    assert (len(zone.on_lists), empty.on_lists) == (2, [])
    assert (zone.frames, len(empty.frames)) == (range(1, 131039), 0)


def test_zspages_of_all_zones_are_those_of_vmstat() -> None:
    zones = zoneinfo.parse(TAKEN["/proc/zoneinfo"])
    assert sum(zone.nr_zspages for zone in zones) == vmstat.parse(TAKEN["/proc/vmstat"])["nr_zspages"]


def test_buddyinfo_counts_blocks_by_order() -> None:
    (zone,) = buddyinfo.parse(TAKEN["/proc/buddyinfo"])
    assert zone.free == (15, 9, 9, 20, 5, 3, 3, 3, 5, 1, 107)
    assert zone.pages == 15 + 18 + 36 + 160 + 80 + 96 + 192 + 384 + 1280 + 512 + 107 * 1024


def test_pagetypeinfo_has_blocks_by_migrate_type() -> None:
    (zone,) = pagetypeinfo.parse(TAKEN["/proc/pagetypeinfo"])
    assert zone.blocks == {"Unmovable": 11, "Movable": 116, "Reclaimable": 1, "HighAtomic": 0}
    assert zone.free["Movable"][0] == 15
    assert len(zone.free["Movable"]) == 11


def test_a_count_that_the_kernel_gave_up_on_is_a_lower_bound() -> None:
    text = TAKEN["/proc/pagetypeinfo"].replace("    15      8", ">100000      8")
    assert pagetypeinfo.parse(text)[0].free["Movable"][:2] == (100000, 8)


def test_slabinfo_names_zsmallocs_handles() -> None:
    handles = slabinfo.parse(TAKEN["/proc/slabinfo"])["zs_handle"]
    assert handles == slabinfo.Cache(512, 512, 8, 512, 1)
    with pytest.raises(ValueError, match="another version"):
        slabinfo.parse("slabinfo - version: 3.0\n# name\n")


def test_meminfo_is_in_kibibytes() -> None:
    assert meminfo.parse(TAKEN["/proc/meminfo"])["MemTotal"] == 500244
    with pytest.raises(ValueError, match="not a line of meminfo: 'MemTotal: 5 MB'"):
        meminfo.parse("MemTotal: 5 MB")


def test_mm_stat_has_its_fields_by_the_kernels_names() -> None:
    stat = zram.parse_mm_stat(TAKEN["/sys/block/zram0/mm_stat"])
    assert stat == zram.MmStat(
        orig_data_size=1966080,
        compr_data_size=1079360,
        mem_used_total=1114112,
        mem_limit=0,
        mem_used_max=1589248,
        same_pages=160,
        pages_compacted=0,
        huge_pages=160,
        huge_pages_since=200,
    )


def test_an_appended_column_is_no_trouble_and_a_missing_one_is() -> None:
    assert zram.parse_mm_stat("1 2 3 4 5 6 7 8 9 10").huge_pages_since == 9
    with pytest.raises(ValueError, match="mm_stat: 7 numbers, at least 8 were expected"):
        zram.parse_mm_stat("1 2 3 4 5 6 7")
    assert zram.parse_io_stat("1 2 3 4") == zram.IoStat(1, 2, 3, 4)
    assert zram.parse_bd_stat("  1  2  3\n") == zram.BdStat(1, 2, 3)
    assert zram.parse_stat(TAKEN["/sys/block/zram0/stat"]).write_ios == 640


def test_the_class_table_of_6_1_adds_up_to_mm_stat() -> None:
    table = zsmalloc.parse(CLASSES)
    used = zram.parse_mm_stat(TAKEN["/sys/block/zram0/mm_stat"])
    assert len(table.rows) == 69
    assert set(table.rows[0].fullness) == {"almost_full", "almost_empty"}
    assert table.pages_used * 4096 == used.mem_used_total
    assert table.obj_used == used.orig_data_size // 4096 - used.same_pages
    assert table.by_index()[254].size == 4096


def test_the_class_table_of_6_4_and_later_has_fullness_by_percent() -> None:
    table = zsmalloc.parse(CLASSES_6_12)
    assert table.rows[0].fullness == {"10%": 1, "20%": 2, "99%": 0, "100%": 3}
    assert (table.rows[0].freeable, table.pages_used, table.obj_used) == (1, 13, 507)


@pytest.mark.parametrize("text", [CLASSES, CLASSES_6_12], ids=["6.1", "6.12"])
def test_totals_that_do_not_add_up_are_refused(text: str) -> None:
    head, total = text.rstrip("\n").rsplit("\n", 1)
    with pytest.raises(ValueError, match="the totals are not the sums of the rows"):
        zsmalloc.parse(f"{head}\n{total.replace('0', '9')}7\n")
    with pytest.raises(ValueError, match="the line of totals was expected"):
        zsmalloc.parse(head)


def test_an_unknown_column_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown columns"):
        zsmalloc.parse(CLASSES.replace("freeable", "freeables"))


def test_paths_tell_the_device_and_the_pool() -> None:
    assert zram.device_of("/sys/block/zram3/mm_stat") == "zram3"
    assert zsmalloc.pool_of("/sys/kernel/debug/zsmalloc/zram3/classes") == "zram3"


def test_a_shrinkers_count_is_summed_over_groups_and_nodes() -> None:
    assert shrinker.parse("1 17 3\n42 5 0\n") == 25
    assert shrinker.parse("") == 0


def test_a_pools_shrinker_is_found_by_the_pools_name() -> None:
    counts = {"zram1-24": "1 17\n", "zram11-25": "1 5\n", "zswap1-26": "1 2\n", "zswap1-27": "1 3\n"}
    files = {shrinker.GLOB.replace("*", name): text for name, text in counts.items()}
    assert shrinker.of_pool(files, "zram1") == (17,)
    assert shrinker.of_pool(files, "zswap1") == (2, 3)
    assert shrinker.of_pool(files, "zram2") == ()


def test_the_collectors_are_found_without_the_optional_compiler() -> None:
    """An installation without the extra "fast" has no numba."""
    program = (
        "import sys; sys.modules['numba'] = None\n"
        "from toolkit.collect.collector import collectors\n"
        "print(len(collectors()))"
    )
    done = run([sys.executable, "-c", program], deadline=Deadline.after(60.0))
    assert int(done.stdout) == len(collectors())
