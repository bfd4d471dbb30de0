# SPDX-License-Identifier: GPL-2.0-only
"""The reference pool follows zsmalloc's rules, one by one."""

from __future__ import annotations

import pytest

from toolkit.errors import TraceError
from toolkit.model.geometry import Geometry, geometry
from toolkit.model.pool import Pool, ZspageLayout

V6_1 = geometry("6.1", 4096)
V6_12 = geometry("6.12", 4096)
# 816 bytes: 5 objects in 1 page, in both generations (no chain wastes less than 16 bytes a page).
SIZE, N = 800, 5
# 512 bytes: 8 objects in 1 page.
EIGHTH = 504


def group(pool: Pool, number: int) -> list[tuple[int | None, ...]]:
    """The handles of each zspage in a fullness group of the class of SIZE, list order."""
    position = pool.geometry.position(SIZE)
    return [zspage.objects for zspage in pool.layout()[position][number]]


def filled(made: Geometry, zspages: int) -> Pool:
    """A pool with full zspages of SIZE: zspage k holds the handles 10k to 10k+4."""
    pool = Pool(made)
    for zspage in range(zspages):
        for place in range(N):
            pool.alloc(SIZE, 10 * zspage + place)
    return pool


def test_the_class_under_test_has_five_objects_a_page() -> None:
    assert (V6_1.class_of(SIZE).objects, V6_1.class_of(SIZE).pages) == (N, 1)


def test_objects_of_a_new_zspage_are_handed_out_in_order() -> None:
    pool = Pool(V6_1)
    pool.alloc(SIZE, 7)
    pool.alloc(SIZE, 8)
    assert group(pool, 1) == [(7, 8, None, None, None)]


def test_the_object_freed_last_is_handed_out_first() -> None:
    pool = filled(V6_1, 1)
    pool.free(1)
    pool.free(3)
    position = V6_1.position(SIZE)
    assert pool.layout()[position][1] == (ZspageLayout((0, None, 2, None, 4), free=(3, 1)),)
    pool.alloc(SIZE, 100)
    assert group(pool, 2) == [(0, None, 2, 100, 4)]


def test_up_to_three_quarters_a_zspage_counts_as_almost_empty() -> None:
    pool = filled(V6_1, 1)
    pool.free(0)  # 4 of 5 is more than floor(15/4) = 3
    assert pool.table()[V6_1.position(SIZE)].fullness == (1, 0)
    pool.free(1)
    assert pool.table()[V6_1.position(SIZE)].fullness == (0, 1)


def test_6_1_searches_almost_full_zspages_before_almost_empty_ones() -> None:
    pool = filled(V6_1, 2)
    for handle in (0, 1, 10):
        pool.free(handle)
    pool.alloc(SIZE, 100)
    assert group(pool, 3) == [(100, 11, 12, 13, 14)]


def test_6_1_inserts_first_unless_the_head_holds_more() -> None:
    pool = filled(V6_1, 2)
    for handle in (0, 1, 10, 11):
        pool.free(handle)  # both enter the group with 3 objects
    assert [z[4] for z in group(pool, 1)] == [14, 4]
    pool.free(12)  # within its group nothing is sorted again
    assert [z[4] for z in group(pool, 1)] == [14, 4]
    pool = filled(V6_1, 3)
    pool.free(0)
    pool.free(1)  # the head, with 3 objects
    pool.alloc(EIGHTH, 99)  # another class: of no concern
    pool.alloc(SIZE, 50)
    pool.alloc(SIZE, 51)  # zspage 0 is full again
    pool.alloc(SIZE, 52)  # a new zspage with 1 object
    pool.free(10)
    pool.free(11)  # 3 is not less than 1
    assert group(pool, 1) == [(None, None, 12, 13, 14), (52, None, None, None, None)]


def test_6_12_always_inserts_at_the_head() -> None:
    pool = filled(V6_12, 2)
    pool.free(0)
    pool.free(1)  # 3 of 5: 60% is in the group from 60 to 69
    pool.free(10)
    pool.free(11)
    assert [z[4] for z in group(pool, 7)] == [14, 4]
    pool.free(2)  # 2 of 5
    pool.alloc(SIZE, 60)  # takes from the fuller group, zspage 1
    assert group(pool, 9) == [(None, 60, 12, 13, 14)]


def test_the_last_object_gives_the_pages_back() -> None:
    pool = Pool(V6_1)
    pool.alloc(SIZE, 1)
    assert pool.pages == 1
    pool.free(1)
    assert (pool.pages, pool.pages_peak) == (0, 1)
    assert all(row.obj_allocated == row.obj_used == row.pages_used == 0 for row in pool.table())


def test_compaction_moves_objects_in_order_of_place_into_the_freed_ones() -> None:
    pool = filled(V6_1, 2)
    for handle in (0, 2, 4, 10, 12):
        pool.free(handle)  # 2 and 3 left: one zspage can go
    assert pool.table()[V6_1.position(SIZE)].freeable == 1
    assert pool.compact() == 1
    assert (pool.pages, pool.pages_compacted) == (1, 1)
    # Zspage 1 was the head of its group: 11, 13 and 14 went to places 4, 2 and 0, freed last to first.
    assert group(pool, 3) == [(14, 1, 13, 3, 11)]


def eight_in_a_page(made: Geometry) -> Pool:
    """Two zspages of 8 places: the head of its group with 5 objects, behind it one with 6."""
    pool = Pool(made)
    for zspage in range(2):
        for place in range(8):
            pool.alloc(EIGHTH, 10 * zspage + place)
    for handle in (0, 1, 10, 11, 12):
        pool.free(handle)
    return pool


def test_a_6_1_compaction_that_frees_nothing_puts_the_head_behind_a_fuller_zspage() -> None:
    pool = eight_in_a_page(V6_1)
    at = V6_1.position(EIGHTH)
    assert [len(z.free) for z in pool.layout()[at][1]] == [3, 2]
    assert pool.compact() == 0
    assert [len(z.free) for z in pool.layout()[at][1]] == [2, 3]


def test_a_6_12_compaction_that_frees_nothing_touches_nothing() -> None:
    pool = eight_in_a_page(V6_12)
    before = pool.layout()
    assert pool.compact() == 0
    assert pool.layout() == before


def test_a_huge_object_takes_a_page_of_its_own() -> None:
    pool = Pool(V6_1)
    pool.alloc(V6_1.huge_class_size - 1, 1)
    assert pool.pages == 4  # class 3264: 5 objects in 4 pages
    pool.alloc(V6_1.huge_class_size, 2)
    assert pool.pages == 5
    assert pool.table()[-1].obj_used == 1
    assert pool.compact() == 0


def test_what_cannot_have_happened_is_named() -> None:
    pool = Pool(V6_1)
    pool.alloc(100, 1)
    with pytest.raises(TraceError, match="returned handle 0x1, which is in use"):
        pool.alloc(100, 1)
    with pytest.raises(TraceError, match="handle 0x2, which is not in use"):
        pool.free(2)
    with pytest.raises(TraceError, match="takes 1 to 4096 bytes, not 4097"):
        pool.alloc(4097, 3)
