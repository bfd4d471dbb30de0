# SPDX-License-Identifier: GPL-2.0-only
"""What a trace says was done to zsmalloc, for the model to do again.

An operation stands where it took effect, as far as probes at entry and return can tell:
an allocation at its return (reclaim inside it may compact before the object is placed),
all others at their entry.  With one thread at a time that is exact; with several, two
operations that overlap may have taken zsmalloc's lock in the other order.  Where what is done
under that lock was traced too, `steps` has it in the very order.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.collect.ftrace import MARK
from toolkit.collect.trace import Events, Trace
from toolkit.errors import TraceError
from toolkit.model.operations import Op, Operations, Step, Steps

# What IS_ERR_VALUE() takes for an error: the last 4095 values.
_FIRST_ERROR = np.uint64(2**64 - 4095)


@dataclass(frozen=True)
class Traced:
    """The operations, and how often each traced event came.

    `counts` has every event of the trace, and "zs_page_migrate_success" and its like, the migrations
    that returned 0.  `pools` has the name of each pool in the order of their creation; the
    kernel may give a later one the identity, and zram the name, of one that is gone.
    `steps` is what was seen while zsmalloc's locks were held, None if that was not traced in full.
    """

    operations: Operations
    counts: Mapping[str, int]
    pools: tuple[str, ...]
    steps: Steps | None = None


def marks(trace: Trace) -> dict[str, int]:
    """The place of each checkpoint among all events of the trace, in their order."""
    printed = trace.events("print")
    return {
        text.removeprefix(MARK).rstrip("\n"): order
        for order, text in zip(_order(printed), printed.texts("buf"), strict=True)
        if text.startswith(MARK)
    }


def traced(trace: Trace) -> Traced:
    """What was done; TraceError if the trace has a return without its call."""
    try:
        return _traced(trace)
    except ValueError as error:
        raise TraceError(str(error)) from error


def _traced(trace: Trace) -> Traced:
    malloc, malloc_return = trace.events("zs_malloc"), trace.events("zs_malloc_return")
    calls, returns = _paired(malloc, malloc_return)
    handles = malloc_return.numbers("handle")[returns]
    good = ~_failed(handles)
    calls, returns, handles = calls[good], returns[good], handles[good]

    create, create_return = trace.events("zs_create_pool"), trace.events("zs_create_pool_return")
    create_calls, create_returns = _paired(create, create_return)
    created = create_return.numbers("pool")[create_returns]
    made = ~_failed(created)
    names = create.texts("name")
    by_creation = np.argsort(create_return.order[create_returns[made]])
    pools = tuple(names[call] for call in create_calls[made][by_creation].tolist())

    free, destroy = (trace.events(name) for name in ("zs_free", "zs_destroy_pool"))
    compact, begins = _compactions(trace)
    # zs_create_pool() that fails halfway destroys what it has, of which nobody knew.
    finished = ~_within(destroy, create, create_calls[~made], create_return, create_returns[~made])
    freed = free.numbers("handle")
    # zs_free() returns at once for NULL and for an error.
    real = ~_failed(freed)
    named = marks(trace)
    nothing = np.uint64(0)
    rows = [
        _rows(Op.CREATE, create_return, create_returns[made], pool=created[made]),
        _rows(Op.DESTROY, destroy, finished, pool=destroy.numbers("pool")[finished]),
        _rows(
            Op.MALLOC,
            malloc_return,
            returns,
            pool=malloc.numbers("pool")[calls],
            size=malloc.numbers("size")[calls],
            handle=handles,
        ),
        _rows(Op.FREE, free, real, pool=free.numbers("pool")[real], handle=freed[real]),
        _rows(Op.COMPACT, compact, begins, pool=compact.numbers("pool")[begins]),
        np.array(
            [(order, Op.MARK, nothing, index, nothing, 0) for index, order in enumerate(named.values())], _ROW
        ),
    ]
    table = np.concatenate(rows)
    table = table[np.argsort(table["order"], kind="stable")]
    operations = Operations(
        op=table["op"].copy(),
        pool=table["pool"].copy(),
        size=table["size"].copy(),
        handle=table["handle"].copy(),
        thread=table["thread"].copy(),
        marks=tuple(named),
    )
    counts = dict(trace.counts)
    for event in trace.formats:
        if event.endswith("_page_migrate_return"):
            errors = trace.events(event).column("error")
            counts[f"{event.removesuffix('_return')}_success"] = int(np.count_nonzero(errors == 0))
    return Traced(operations, counts, pools, _steps(trace, table, operations.marks))


def _steps(trace: Trace, table: NDArray[np.void], marks: tuple[str, ...]) -> Steps | None:
    """Those of the operations that a lock guards, where they took effect, and what compaction did.

    None where the compiler put a copy of these functions into their callers.
    """
    if not {"obj_malloc", "obj_free"} <= trace.formats.keys():
        return None
    kinds = [trace.events(name) for name in ("zs_malloc", "zs_free", "obj_malloc", "obj_free")]
    calls, frees, put = kinds[:3]
    kind = np.repeat(np.arange(4), [len(events) for events in kinds])
    which = np.concatenate([np.arange(len(events)) for events in kinds])
    order = np.concatenate([events.order for events in kinds])
    thread = np.concatenate([events.pid for events in kinds])
    by_thread = np.lexsort((order, thread))
    kind, which, order, thread = kind[by_thread], which[by_thread], order[by_thread], thread[by_thread]
    same = np.r_[False, thread[1:] == thread[:-1]][: len(thread)]
    previous = np.where(same, np.r_[-1, kind[:-1]][: len(kind)], -1)
    after = np.where(np.r_[same[1:], False][: len(kind)], np.r_[kind[1:], -1][: len(kind)], -1)
    # Compaction frees in the old place at once, without a call of zs_free() in between.
    moves = np.flatnonzero((kind == 2) & (after == 3))
    mallocs = np.flatnonzero((kind == 2) & (after != 3))
    freed = np.flatnonzero((kind == 3) & (previous == 1))
    # The call that each belongs to is the last one before it.
    call = np.maximum.accumulate(np.where(kind == 0, np.arange(len(kind)), -1))[mallocs]
    # NULL and errors are not freed, and nor is what was left in a pool that is destroyed.
    counts = {op: int(np.count_nonzero(table["op"] == op)) for op in (Op.MALLOC, Op.FREE)}
    if (len(mallocs), len(freed)) != (counts[Op.MALLOC], counts[Op.FREE]) or (call < 0).any():
        return None

    parts = [(Step.MALLOC, mallocs), (Step.FREE, freed), (Step.MOVE, moves)]
    rows = []
    for step, at in parts:
        part = np.zeros(len(at), _STEP)
        part["op"], part["order"], part["since"], part["thread"] = step, order[at], order[at], thread[at]
        if step == Step.FREE:
            source = which[at - 1]
            part["pool"] = frees.numbers("pool")[source]
            part["handle"] = frees.numbers("handle")[source]
        else:
            source = which[at]
            for name in ("pool", "zspage", "handle"):
                part[name] = put.numbers(name)[source]
        if step == Step.MALLOC:
            part["size"], part["since"] = calls.numbers("size")[which[call]], order[call]
        rows.append(part)
    for op, step in ((Op.CREATE, Step.CREATE), (Op.DESTROY, Step.DESTROY), (Op.MARK, Step.MARK)):
        chosen = table[table["op"] == op]
        part = np.zeros(len(chosen), _STEP)
        for name in ("order", "pool", "size", "thread"):
            part[name] = chosen[name]
        part["op"], part["since"] = step, chosen["order"]
        rows.append(part)
    has_sources = "isolate_zspage" in trace.formats
    if has_sources:
        rows.append(_sources(trace))
    steps = np.concatenate(rows)
    steps = steps[np.argsort(steps["order"], kind="stable")]
    deferred = trace.counts["async_free_zspage"] if "async_free_zspage" in trace.formats else None
    return Steps(
        op=steps["op"].copy(),
        pool=steps["pool"].copy(),
        size=steps["size"].copy(),
        handle=steps["handle"].copy(),
        zspage=steps["zspage"].copy(),
        since=np.searchsorted(steps["order"], steps["since"]).astype(np.int64),
        thread=steps["thread"].copy(),
        marks=marks,
        sources=has_sources,
        deferred=deferred,
    )


def _sources(trace: Trace) -> NDArray[np.void]:
    """A row for each zspage that compaction began to empty, of the pool that its thread compacts."""
    isolated, compact = trace.events("isolate_zspage"), trace.events("zs_compact")
    at = np.flatnonzero(isolated.numbers("source") != 0)
    part = np.zeros(len(at), _STEP)
    part["op"], part["order"], part["since"] = Step.SOURCE, isolated.order[at], isolated.order[at]
    part["thread"], part["zspage"] = isolated.pid[at], isolated.numbers("class")[at]
    pools = compact.numbers("pool")
    for thread in np.unique(compact.pid):
        began = np.flatnonzero(compact.pid == thread)
        mine = np.flatnonzero(part["thread"] == thread)
        last = np.searchsorted(compact.order[began], part["order"][mine]) - 1
        part["pool"][mine] = np.where(last < 0, 0, pools[began[np.maximum(last, 0)]])
    return part


def _compactions(trace: Trace) -> tuple[Events, NDArray[np.int64]]:
    """The events by which compactions are known, and those of them with which one begins.

    Where the kernel has __zs_compact(), which is called for one class after the other, a compaction
    begins with the class that came first in the pool's life: always the largest.  zs_compact()
    does not call it while another one is under way.
    """
    if "zs_compact_class" not in trace.formats:
        whole = trace.events("zs_compact")
        return whole, np.arange(len(whole))
    each, destroy = trace.events("zs_compact_class"), trace.events("zs_destroy_pool")
    ends: dict[int, list[int]] = {}
    for pool, order in zip(destroy.numbers("pool").tolist(), destroy.order.tolist(), strict=True):
        ends.setdefault(pool, []).append(order)
    largest: dict[tuple[int, int], int] = {}
    begins = [
        row
        for row, (pool, size_class, order) in enumerate(
            zip(
                each.numbers("pool").tolist(),
                each.numbers("class").tolist(),
                each.order.tolist(),
                strict=True,
            )
        )
        # A pool that was destroyed may come back at the same address, with other classes.
        if largest.setdefault((pool, bisect.bisect(ends.get(pool, []), order)), size_class) == size_class
    ]
    return each, np.array(begins, np.int64)


_ROW = np.dtype(
    [("order", "i8"), ("op", "u1"), ("pool", "u8"), ("size", "u4"), ("handle", "u8"), ("thread", "u4")]
)

_STEP = np.dtype([*_ROW.descr, ("zspage", "u8"), ("since", "i8")])


def _rows(
    op: Op,
    events: Events,
    which: NDArray[np.generic] | slice,
    *,
    pool: NDArray[np.uint64],
    size: NDArray[np.uint64] | None = None,
    handle: NDArray[np.uint64] | None = None,
) -> NDArray[np.void]:
    rows = np.zeros(len(pool), _ROW)
    rows["order"] = events.order[which]
    rows["op"] = op
    rows["pool"] = pool
    rows["thread"] = events.pid[which]
    if size is not None:
        rows["size"] = size
    if handle is not None:
        rows["handle"] = handle
    return rows


def _within(
    inner: Events, calls: Events, at: NDArray[np.int64], returns: Events, back: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(n,) which events of `inner` came between one of those calls and its return, in its thread."""
    found = np.zeros(len(inner), np.bool_)
    for call, back_again in zip(at.tolist(), back.tolist(), strict=True):
        found |= (
            (inner.pid == calls.pid[call])
            & (inner.order > calls.order[call])
            & (inner.order < returns.order[back_again])
        )
    return found


def _order(events: Events) -> list[int]:
    return [int(order) for order in events.order]


def _failed(values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of them are NULL or an error."""
    failed: NDArray[np.bool_] = np.logical_or(values == 0, values >= _FIRST_ERROR)
    return failed


def _paired(calls: Events, returns: Events) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of each call that returned, and of its return: the next one of the same thread.

    A call that has not returned at the end is left out; anything else unpaired is an error.
    """
    thread = np.concatenate([calls.pid, returns.pid])
    order = np.concatenate([calls.order, returns.order])
    is_return = np.repeat([False, True], [len(calls), len(returns)])
    index = np.concatenate([np.arange(len(calls)), np.arange(len(returns))])
    by_thread = np.lexsort((order, thread))
    thread, is_return, index = thread[by_thread], is_return[by_thread], index[by_thread]
    last = np.r_[thread[1:] != thread[:-1], True][: len(thread)]
    after_call = np.r_[False, ~is_return[:-1] & ~last[:-1]][: len(thread)]
    stray = is_return & ~after_call
    if stray.any():
        raise ValueError(
            f"{returns.format.name}: thread {thread[stray][0]} returns from a call that is not there"
        )
    open_calls = ~is_return & ~last
    doubled = open_calls & ~np.r_[is_return[1:], True][: len(thread)]
    if doubled.any():
        raise ValueError(f"{calls.format.name}: thread {thread[doubled][0]} calls again before it returned")
    return index[open_calls], index[is_return]
