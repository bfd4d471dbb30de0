# SPDX-License-Identifier: GPL-2.0-only
"""A trace becomes the operations that the model repeats, and a torn one is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from toolkit.collect import snapshot, zsmalloc
from toolkit.collect.ftrace import Recording
from toolkit.collect.operations import traced
from toolkit.collect.trace import Trace
from toolkit.errors import TraceError
from toolkit.model.geometry import geometry
from toolkit.model.operations import Op, Step
from toolkit.model.ordered import follow
from toolkit.model.predict import predict
from toolkit.model.replay import replay

RECORDED = Path(__file__).parents[1] / "data" / "trace" / "6.1-x86_64"
# Of the workload zram-compact, with what is done under the locks.
STEPS = RECORDED.parents[1] / "steps" / RECORDED.name


@pytest.fixture(scope="module")
def trace() -> Trace:
    return Recording.load(RECORDED).trace()


def kept(trace: Trace, rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Trace:
    """The trace without some of its events."""
    columns = {name: getattr(trace, name)[rows] for name in ("time", "cpu", "id", "start", "length")}
    return dataclasses.replace(trace, **columns)


def test_the_operations_are_those_of_the_device_that_was_filled_and_reset(trace: Trace) -> None:
    done = traced(trace)
    operations = done.operations
    assert operations.marks == ("baseline", "filled", "holes", "compacted", "end")
    marked = operations.op == Op.MARK
    assert operations.size[marked].tolist() == [0, 1, 2, 3, 4]
    assert done.pools == ("zram0",)
    (pool,) = operations.pool[operations.op == Op.CREATE].tolist()
    assert set(operations.pool[~marked].tolist()) == {pool}
    kinds = [Op(int(op)).name for op in operations.op]
    assert kinds[:3] == ["MARK", "CREATE", "MALLOC"]
    assert kinds[-2:] == ["DESTROY", "MARK"]
    assert (kinds.count("MALLOC"), kinds.count("FREE"), kinds.count("COMPACT")) == (480, 480, 1)


def test_what_lives_at_the_end_is_what_was_allocated_and_not_freed(trace: Trace) -> None:
    operations = traced(trace).operations
    live: dict[tuple[int, int], int] = {}
    for op, pool, size, handle in zip(
        operations.op, operations.pool, operations.size, operations.handle, strict=True
    ):
        if op == Op.MALLOC:
            assert (int(pool), int(handle)) not in live
            assert 0 < size <= 4096
            live[int(pool), int(handle)] = int(size)
        elif op == Op.FREE:
            del live[int(pool), int(handle)]
    assert live == {}


def test_the_model_predicts_from_the_trace_what_the_guest_showed(trace: Trace) -> None:
    stream = (RECORDED.parents[1] / "snapshot" / f"{RECORDED.name}.frames").read_bytes()
    path = "/sys/kernel/debug/zsmalloc/zram0/classes"
    table = zsmalloc.COLLECTOR.read(snapshot.parse(stream), path)
    seen = {
        (row.size, metric): value
        for row in table.rows
        for metric, value in {**row.fullness, **vars(row)}.items()
    }
    expected = {
        (one.size_class, one.metric): (one.low, one.high)
        for one in predict(traced(trace).operations, geometry("6.1.192", 4096), single_threaded=True)
        if one.checkpoint == "compacted" and one.size_class is not None
    }
    assert len(expected) == 69 * 6
    assert expected == {key: (seen[key], seen[key]) for key in expected}


def test_counts_have_every_event_and_the_migrations_that_worked(trace: Trace) -> None:
    counts = traced(trace).counts
    assert counts["zs_page_migrate"] == counts["zs_page_migrate_success"] == 271
    assert counts["zs_page_putback"] == 0


def test_a_return_without_its_call_is_an_error(trace: Trace) -> None:
    first_call = trace.events("zs_malloc").order[0]
    with pytest.raises(TraceError, match=r"zs_malloc_return: thread \d+ returns from a call"):
        traced(kept(trace, np.arange(len(trace)) != first_call))


def test_a_call_that_never_returned_is_an_error_unless_it_is_the_threads_last(trace: Trace) -> None:
    returns = trace.events("zs_malloc_return").order
    rows = np.arange(len(trace))
    with pytest.raises(TraceError, match=r"zs_malloc: thread \d+ calls again"):
        traced(kept(trace, rows != returns[0]))
    cut = traced(kept(trace, rows < returns[-1]))
    assert np.count_nonzero(cut.operations.op == Op.MALLOC) == len(returns) - 1


def _with_classes(trace: Trace, rows: list[int], classes: list[int]) -> Trace:
    """The trace with some of its frees turned into compactions of a class each."""
    free = trace.formats["zs_free"]
    fields = {"class" if name == "handle" else name: field for name, field in free.fields.items()}
    number = max(format.id for format in trace.formats.values()) + 1
    each = dataclasses.replace(free, name="zs_compact_class", id=number, fields=fields)
    ids, data = trace.id.copy(), trace.data.copy()
    ids[rows] = number
    for row, size_class in zip(rows, classes, strict=True):
        where = trace.start[row] + free.fields["handle"].offset
        data[where : where + 8] = np.frombuffer(size_class.to_bytes(8, "little"), np.uint8)
    return dataclasses.replace(trace, id=ids, data=data, formats={**trace.formats, each.name: each})


def test_where_each_class_is_seen_a_compaction_begins_with_the_largest(trace: Trace) -> None:
    """zs_compact() itself is not counted: it may be inlined where the shrinker calls it."""
    rows = trace.events("zs_free").order[:8].tolist()
    found = traced(_with_classes(trace, rows, [9, 5, 3, 9, 5, 3, 9, 5])).operations
    compacts = np.flatnonzero(found.op == Op.COMPACT)
    assert len(compacts) == 3
    assert np.count_nonzero(found.op == Op.FREE) == 472
    none = traced(_with_classes(trace, [], [])).operations
    assert np.count_nonzero(none.op == Op.COMPACT) == 0


def test_a_pool_that_came_back_at_the_same_address_has_another_largest_class(trace: Trace) -> None:
    again = dataclasses.replace(
        trace,
        time=np.concatenate([trace.time, trace.time + trace.time[-1]]),
        cpu=np.tile(trace.cpu, 2),
        id=np.tile(trace.id, 2),
        start=np.concatenate([trace.start, trace.start + len(trace.data)]),
        length=np.tile(trace.length, 2),
        data=np.tile(trace.data, 2),
    )
    first = trace.events("zs_free").order[:2].tolist()
    rows = [*first, *(row + len(trace) for row in first)]
    found = traced(_with_classes(again, rows, [9, 5, 7, 4])).operations
    assert np.count_nonzero(found.op == Op.COMPACT) == 2


def test_failed_allocations_and_frees_of_nothing_are_left_out(trace: Trace) -> None:
    data = trace.data.copy()
    failing = trace.events("zs_malloc_return")
    where = failing.start[0] + failing.format.fields["handle"].offset
    data[where : where + 8] = np.frombuffer((2**64 - 12).to_bytes(8, "little"), np.uint8)
    freeing = trace.events("zs_free")
    where = freeing.start[0] + freeing.format.fields["handle"].offset
    data[where : where + 8] = 0
    operations = traced(dataclasses.replace(trace, data=data)).operations
    assert np.count_nonzero(operations.op == Op.MALLOC) == 479
    assert np.count_nonzero(operations.op == Op.FREE) == 479


def test_pools_are_named_in_the_order_of_their_creation(trace: Trace) -> None:
    # The same trace once more, later, by another thread that got the same addresses.
    again = dataclasses.replace(
        trace,
        time=np.concatenate([trace.time, trace.time + trace.time[-1]]),
        cpu=np.tile(trace.cpu, 2),
        id=np.tile(trace.id, 2),
        start=np.tile(trace.start, 2),
        length=np.tile(trace.length, 2),
    )
    done = traced(again)
    assert done.pools == ("zram0", "zram0")
    assert np.count_nonzero(done.operations.op == Op.CREATE) == 2


def test_an_empty_trace_has_no_operation(trace: Trace) -> None:
    done = traced(kept(trace, np.zeros(len(trace), np.bool_)))
    assert len(done.operations) == 0
    assert done.operations.marks == ()
    assert set(done.counts.values()) == {0}


def test_a_pool_that_was_never_finished_is_not_destroyed(trace: Trace) -> None:
    """zs_create_pool() takes back what it has when an allocation fails, by zs_destroy_pool()."""
    call, returned = trace.events("zs_create_pool"), trace.events("zs_create_pool_return")
    destroy = trace.events("zs_destroy_pool")
    order = np.array([call.order[0], destroy.order[0], returned.order[0]])
    columns = {name: getattr(trace, name)[order] for name in ("time", "cpu", "id", "start", "length")}
    pid = trace.data[int(call.start[0]) + 4 : int(call.start[0]) + 8]
    data = trace.data.copy()
    data[int(destroy.start[0]) + 4 : int(destroy.start[0]) + 8] = pid
    nested = dataclasses.replace(trace, **columns, data=data)
    assert [Op(int(op)) for op in traced(nested).operations.op] == [Op.DESTROY, Op.CREATE]
    at = int(returned.start[0]) + returned.format.fields["pool"].offset
    data[at : at + 8] = 0
    failed = dataclasses.replace(trace, **columns, data=data)
    assert traced(failed).operations.op.tolist() == []
    assert traced(failed).pools == ()


@pytest.fixture(scope="module")
def stepped() -> Trace:
    return Recording.load(STEPS).trace()


def test_what_was_seen_under_the_lock_is_what_the_model_does_there(stepped: Trace) -> None:
    done = traced(stepped)
    assert done.steps is not None
    made = geometry("6.1.192", 4096)
    followed = follow(done.steps, made)
    assert followed.followed, followed.difference or followed.unclear
    kinds = {step.name: int((done.steps.op == step).sum()) for step in Step}
    of_operations = {op.name: int((done.operations.op == op).sum()) for op in Op}
    assert {name: of_operations[name] for name in ("CREATE", "DESTROY", "MALLOC", "FREE", "MARK")} == {
        name: kinds[name] for name in ("CREATE", "DESTROY", "MALLOC", "FREE", "MARK")
    }
    # Every compaction looks for a source in each of the 69 classes.
    assert kinds["SOURCE"] >= 69 * of_operations["COMPACT"] > 0
    assert kinds["MOVE"] > 0
    # One thread did it all, so that the order of the calls is that of the locks.
    assert followed.snapshots == replay(done.operations, made).snapshots


def test_a_handle_that_went_elsewhere_is_found_where_it_happened(stepped: Trace) -> None:
    steps = traced(stepped).steps
    assert steps is not None
    mallocs = np.flatnonzero(steps.op == Step.MALLOC)
    zspage = steps.zspage.copy()
    zspage[mallocs[1000]] = 0xBAD
    followed = follow(dataclasses.replace(steps, zspage=zspage), geometry("6.1.192", 4096))
    assert followed.steps == mallocs[1000]
    assert f"step {mallocs[1000]} (MALLOC by thread" in followed.difference


def test_a_trace_without_all_that_is_done_under_the_lock_has_no_steps(stepped: Trace) -> None:
    formats = {name: one for name, one in stepped.formats.items() if name != "obj_free"}
    number = stepped.formats["obj_free"].id
    without = dataclasses.replace(kept(stepped, stepped.id != number), formats=formats)
    assert traced(without).steps is None
    one = np.flatnonzero(stepped.id == stepped.formats["obj_malloc"].id)[7]
    assert traced(kept(stepped, np.arange(len(stepped)) != one)).steps is None
