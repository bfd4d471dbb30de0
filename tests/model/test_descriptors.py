# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_judge import unpack_to
from toolkit import judge
from toolkit.model.descriptors import Census, Memmap, costs

CENSUS = Census(stored=2_000_000, pages=1000, zspages=400, objects=1500, zspage_slot=56.5, handle_slot=8.0)


def test_each_memory_map_costs_its_bytes_a_page_and_nothing_else_changes() -> None:
    made = {cost.memmap: cost for cost in costs(CENSUS)}
    assert {memmap: cost.pages for memmap, cost in made.items()} == {
        Memmap.STRUCT_PAGE: 64_000,
        Memmap.ONE_WORD: 8_000,
        Memmap.TWO_WORDS: 16_000,
        Memmap.DESCRIPTORS: 8_000 + 40_000,
    }
    assert {(cost.zspages, cost.handles) for cost in made.values()} == {(22_600, 12_000)}


def test_a_cost_is_related_to_what_is_stored() -> None:
    today = costs(CENSUS)[0]
    assert today.total == 64_000 + 22_600 + 12_000
    assert today.per_stored_mb == pytest.approx(49_300)
    assert today.percent == pytest.approx(4.93)


def test_nothing_stored_has_no_cost() -> None:
    with pytest.raises(ValueError, match="nothing was stored"):
        costs(Census(0, 0, 0, 0, 56.0, 8.0))


def test_a_census_of_a_real_run_counts_what_its_table_says(tmp_path: Path) -> None:
    case = judge.Case(unpack_to("zram-compact-arm64", tmp_path))
    taken = judge.census(case)
    assert taken is not None
    checkpoint, census = taken
    (table,) = case.tables[checkpoint].values()
    assert (census.pages, census.objects) == (table.pages_used, table.obj_used)
    stats = [case.mm_stat(name, pool) for name in case.facts.checkpoints for pool in case.tables[name]]
    assert max(stat.compr_data_size for stat in stats if stat is not None) == census.stored
    assert 56 <= census.zspage_slot < 128
    assert census.handle_slot == pytest.approx(8, rel=0.1)
