# SPDX-License-Identifier: GPL-2.0-only
"""A trace becomes what the pools hold at each checkpoint."""

from __future__ import annotations

import pytest

from toolkit.errors import TraceError
from toolkit.model.geometry import geometry
from toolkit.model.operations import Recorder
from toolkit.model.replay import Leftover, replay

V6_1 = geometry("6.1", 4096)


def test_every_mark_becomes_a_snapshot_of_all_live_pools() -> None:
    trace = Recorder()
    trace.mark("before")
    trace.create(pool=0xAA)
    trace.create(pool=0xBB)
    trace.malloc(100, 1, pool=0xAA)
    trace.malloc(4096, 1, pool=0xBB)
    trace.malloc(50, 2, pool=0xBB)
    trace.mark("filled")
    trace.free(1, pool=0xBB)
    trace.free(2, pool=0xBB)
    trace.destroy(pool=0xBB)
    trace.mark("after")
    before, filled, after = replay(trace.operations(), V6_1).snapshots
    assert (before.checkpoint, before.pools) == ("before", ())
    assert [pool.order for pool in filled.pools] == [0, 1]
    first, second = filled.pools
    assert (first.objects, first.pages, first.object_bytes, first.page_objects) == (1, 2, 100, 0)
    assert (second.objects, second.pages, second.object_bytes, second.page_objects) == (2, 2, 4146, 1)
    row = next(row for row in second.table if row.size == 64)
    assert (row.index, row.fullness, row.obj_allocated, row.obj_used) == (2, (0, 1), 64, 1)
    assert [pool.order for pool in after.pools] == [0]


def test_a_pool_whose_address_is_used_again_is_another_pool() -> None:
    trace = Recorder()
    for _ in range(2):
        trace.create(pool=5)
        trace.malloc(100, 1, pool=5)
        trace.mark("in use")
        trace.free(1, pool=5)
        trace.destroy(pool=5)
    snapshots = replay(trace.operations(), V6_1).snapshots
    assert [pool.order for s in snapshots for pool in s.pools] == [0, 1]


def test_compaction_counts_in_pages_and_the_peak_stays() -> None:
    trace = Recorder()
    trace.create()
    for handle in range(6):
        trace.malloc(2000, handle)  # 2048: two a page
    for handle in (0, 2):
        trace.free(handle)
    trace.compact()
    trace.mark("compacted")
    (pool,) = replay(trace.operations(), V6_1).snapshots[0].pools
    assert (pool.pages, pool.pages_peak, pool.pages_compacted, pool.freeable) == (2, 3, 1, 0)


def test_a_pool_destroyed_with_objects_in_it_is_told() -> None:
    trace = Recorder()
    trace.create()
    trace.malloc(100, 1)
    trace.destroy()
    assert replay(trace.operations(), V6_1).leftovers == (Leftover(order=0, objects=1),)


def test_a_trace_that_cannot_be_is_refused_with_its_row() -> None:
    trace = Recorder()
    trace.create(pool=1)
    trace.free(9, pool=1)
    with pytest.raises(TraceError, match=r"operation 1: zs_free\(\) of handle 0x9, which is not in use"):
        replay(trace.operations(), V6_1)
    trace = Recorder()
    trace.malloc(100, 9, pool=7)
    with pytest.raises(TraceError, match=r"operation 0 \(MALLOC\) is on pool 0x7") as caught:
        replay(trace.operations(), V6_1)
    assert caught.value.hint == "start the trace before the pool"
    trace = Recorder()
    trace.create(pool=1)
    trace.create(pool=1)
    with pytest.raises(TraceError, match="returned pool 0x1, which exists"):
        replay(trace.operations(), V6_1)
