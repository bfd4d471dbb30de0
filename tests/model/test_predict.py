# SPDX-License-Identifier: GPL-2.0-only
"""Predictions are exact where they can be, and sound where they cannot."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from toolkit.model.geometry import Geometry, geometry
from toolkit.model.operations import Op, Operations, Recorder
from toolkit.model.pool import ClassRow, Pool
from toolkit.model.predict import Expectation, invariants, predict
from toolkit.model.replay import replay

GEOMETRIES = [geometry(release, page) for release in ("6.1", "6.12") for page in (4096, 16384)]


def churn(made: Geometry, seed: int, operations: int) -> Operations:
    """A random trace on one pool that fills, drains and compacts it, marked now and then."""
    chance = random.Random(seed)
    sizes = [chance.randint(1, made.page_size) for _ in range(6)]
    trace = Recorder()
    trace.create()
    live: list[int] = []
    for number in range(operations):
        filling = number // 200 % 2 == 0
        if live and chance.random() < (0.2 if filling else 0.8):
            trace.free(live.pop(chance.randrange(len(live))), thread=number % 3)
        else:
            trace.malloc(chance.choice(sizes), number, thread=number % 3)
            live.append(number)
        if chance.random() < 0.01:
            trace.compact()
        if chance.random() < 0.02:
            trace.mark(f"at {number}")
    trace.mark("end")
    return trace.operations()


def seen(
    expectations: tuple[Expectation, ...], checkpoint: str, metric: str, size: int | None
) -> Expectation:
    (found,) = [
        e for e in expectations if (e.checkpoint, e.metric, e.size_class) == (checkpoint, metric, size)
    ]
    return found


def test_for_one_thread_every_metric_is_exact() -> None:
    made = geometry("6.1", 4096)
    trace = Recorder()
    trace.create()
    for handle in range(6):
        trace.malloc(2000, handle)
    trace.malloc(4096, 6)
    trace.free(0)
    trace.mark("now")
    expectations = predict(trace.operations(), made, single_threaded=True)
    assert all(e.low == e.high for e in expectations)
    assert {(e.metric, e.low) for e in expectations if e.size_class is None} == {
        ("objects", 6),
        ("pages", 4),
        ("pages_peak", 4),
        ("pages_compacted", 0),
        ("compr_data_size", 5 * 2000 + 4096),
        ("huge_pages", 1),
        ("huge_pages_since", 1),
    }
    assert seen(expectations, "now", "almost_empty", 2048).low == 1
    assert seen(expectations, "now", "obj_allocated", 2048).low == 6
    assert len(expectations) == 69 * 6 + 7


def test_huge_objects_are_counted_ever_but_for_one_that_was_given_back_at_once() -> None:
    made = geometry("6.1", 4096)
    trace = Recorder()
    trace.create()
    trace.malloc(4096, 1)
    trace.malloc(4096, 2)
    trace.free(1)
    trace.mark("kept")
    trace.malloc(4096, 3)
    trace.free(3)
    trace.mark("given back")
    expectations = predict(trace.operations(), made, single_threaded=True)
    counts = [(e.checkpoint, e.low, e.high) for e in expectations if e.metric == "huge_pages_since"]
    assert counts == [("kept", 2, 2), ("given back", 2, 3)]


def test_where_zram_recompresses_the_peak_alone_is_bounded() -> None:
    made = geometry("6.12", 4096)
    trace = Recorder()
    trace.create()
    trace.malloc(4096, 1)
    trace.mark("now")
    expectations = predict(trace.operations(), made, single_threaded=True, recompressed=True)
    assert [(e.metric, e.low, e.high) for e in expectations if e.low != e.high] == [("pages_peak", 0, 1)]


@pytest.mark.parametrize("made", GEOMETRIES, ids=lambda g: f"{g.rules.value}-{g.page_size}")
def test_the_sequential_order_lies_within_the_concurrent_bounds(made: Geometry) -> None:
    operations = churn(made, seed=7, operations=3000)
    exact = predict(operations, made, single_threaded=True)
    bounds = predict(operations, made, single_threaded=False)
    keyed = {(e.checkpoint, e.pool, e.metric, e.size_class): e for e in bounds}
    assert len(keyed) == len(bounds) == len(exact)
    for e in exact:
        bound = keyed[e.checkpoint, e.pool, e.metric, e.size_class]
        assert bound.low <= e.low <= bound.high, (e, bound)
        if e.metric in ("obj_used", "objects", "compr_data_size", "huge_pages", "huge_pages_since"):
            assert bound.low == bound.high


def interleaved(made: Geometry, seed: int, threads: int) -> tuple[Operations, tuple[ClassRow, ...]]:
    """Threads that may be held between finding no room and adding their zspage.

    The trace tells a zs_malloc() at its return and a zs_free() at its call, as probes do.
    """
    chance = random.Random(seed)
    size = chance.choice([1500, 2000, 3000])
    pool = Pool(made)
    trace = Recorder()
    trace.create()
    state = pool._classes[made.position(size)]
    live: list[int] = []
    handles = iter(range(1_000_000))

    def thread(number: int) -> Iterator[None]:
        for _ in range(60):
            if live and chance.random() < 0.45:
                handle = live.pop(chance.randrange(len(live)))
                trace.free(handle, thread=number)
                yield
                pool.free(handle)
            else:
                handle = next(handles)
                if state.first(state.search) is None:
                    yield
                    # Whatever it would find now, it adds the zspage that it went to allocate.
                    add_zspage(pool, size, handle)
                else:
                    pool.alloc(size, handle)
                yield
                trace.malloc(size, handle, thread=number)
                live.append(handle)
            if chance.random() < 0.02:
                trace.compact()
                pool.compact()
            yield

    running = [thread(number) for number in range(threads)]
    while running:
        turn = chance.choice(running)
        if next(turn, "over") == "over":
            running.remove(turn)
    trace.mark("rest")
    return trace.operations(), pool.table()


def add_zspage(pool: Pool, size: int, handle: int) -> None:
    """zs_malloc() from the point where its own zspage is inserted."""
    state = pool._classes[pool.geometry.position(size)]
    search, type(state).search = type(state).search, ()
    try:
        pool.alloc(size, handle)
    finally:
        type(state).search = search


@pytest.mark.parametrize("release", ["6.1", "6.12"])
def test_bounds_hold_for_interleavings_in_which_threads_add_zspages_at_once(release: str) -> None:
    made = geometry(release, 4096)
    beyond_sequential = 0
    for seed in range(30):
        operations, table = interleaved(made, seed, threads=8)
        assert invariants(table, made, at_rest=True) == ()
        bounds = {(e.metric, e.size_class): e for e in predict(operations, made, single_threaded=False)}
        sequential = replay(operations, made).snapshots[0].pools[0].table
        for row, alone in zip(table, sequential, strict=True):
            beyond_sequential += row != alone
            values = {
                **dict(zip(made.fullness_columns, row.fullness, strict=True)),
                "obj_used": row.obj_used,
                "obj_allocated": row.obj_allocated,
                "pages_used": row.pages_used,
                "freeable": row.freeable,
            }
            for metric, value in values.items():
                bound = bounds[metric, row.size]
                assert bound.low <= value <= bound.high, (seed, value, bound)
    assert beyond_sequential > 5, "the interleavings were no different from one thread"


@pytest.mark.parametrize("made", GEOMETRIES, ids=lambda g: f"{g.rules.value}-{g.page_size}")
def test_no_state_of_the_model_breaks_an_invariant(made: Geometry) -> None:
    for snapshot in replay(churn(made, seed=3, operations=3000), made).snapshots:
        for pool in snapshot.pools:
            assert invariants(pool.table, made, at_rest=True) == ()


ROW = ClassRow(
    index=126,
    size=2048,
    fullness=(0, 1),
    obj_allocated=6,
    obj_used=5,
    pages_used=3,
    pages_per_zspage=1,
    freeable=0,
)


@pytest.mark.parametrize(
    ("changed", "invariant"),
    [
        (replace(ROW, obj_allocated=7), "whole-zspages"),
        (replace(ROW, pages_used=4), "pages-used"),
        (replace(ROW, obj_used=7), "used-within-allocated"),
        (replace(ROW, obj_used=3), "freeable"),
        (replace(ROW, fullness=(0, 4)), "fullness-sum"),
        (replace(ROW, fullness=(1, 0)), "fullness-possible"),
        (replace(ROW, fullness=(0, 2)), "used-by-fullness"),
        (replace(ROW, fullness=(0, 0)), "used-by-fullness"),
        (replace(ROW, size=2049), "classes"),
    ],
)
def test_a_broken_row_is_told_by_the_name_of_what_it_breaks(changed: ClassRow, invariant: str) -> None:
    made = geometry("6.1", 4096)
    table = Pool(made).table()
    at = made.position(2000)
    assert table[at].size == ROW.size
    assert invariants((*table[:at], ROW, *table[at + 1 :]), made, at_rest=True) == ()
    found = invariants((*table[:at], changed, *table[at + 1 :]), made, at_rest=True)
    assert invariant in [violation.invariant for violation in found]


def test_an_empty_zspage_is_a_violation_only_at_rest() -> None:
    made = geometry("6.12", 4096)
    table = Pool(made).table()
    row = replace(table[-1], obj_allocated=1, pages_used=1, freeable=1)
    left = (*table[:-1], row)
    assert [v.invariant for v in invariants(left, made, at_rest=True)] == ["no-empty-zspage"]
    assert invariants(left, made, at_rest=False) == ()


def test_operations_are_columns_of_equal_length() -> None:
    operations = churn(GEOMETRIES[0], seed=1, operations=10)
    assert len(operations) == len(operations.op) == len(operations.thread)
    assert operations.op[0] == Op.CREATE
