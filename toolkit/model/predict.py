# SPDX-License-Identifier: GPL-2.0-only
"""What a guest must show at each checkpoint, and what must hold of any class table.

Sees the trace, the page size, the chain size and the release: nothing observed.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from toolkit.model.geometry import Geometry, SizeClass
from toolkit.model.operations import Op, Operations
from toolkit.model.ordered import Ordered
from toolkit.model.pool import ClassRow
from toolkit.model.replay import PoolSnapshot, Replay, replay

# Operations from which on it pays to compile the replay, which takes some seconds once.
_WORTHWHILE = 300_000

_FOLLOWED = "one thread at a time: the model followed every operation of the trace"
_IN_ORDER = "the model followed every step in the order in which the lock was taken"
_UNSEEN = "zram does not look at its pages when it recompresses"
_EVER = "each zs_malloc() of a whole page is one, but for those given back at once at the disk's limit"
_COUNTED = "each zs_malloc() not yet freed is one object of its class, in whatever order they took effect"


@dataclass(frozen=True)
class Expectation:
    """`low` <= the metric <= `high`; exact where they are equal.

    checkpoint: the MARK's name; pool: pools created before it; metric: a column of
    debugfs `classes`, or of the pool as a whole ("pages", "pages_peak", "pages_compacted",
    "objects", "compr_data_size" in bytes, "huge_pages", "huge_pages_since");
    size_class: the class's size in bytes, None for the pool as a whole.
    """

    checkpoint: str
    pool: int
    metric: str
    size_class: int | None
    low: int
    high: int
    because: str


def predict(
    operations: Operations,
    geometry: Geometry,
    *,
    single_threaded: bool,
    ordered: Ordered | None = None,
    recompressed: bool = False,
) -> tuple[Expectation, ...]:
    """What debugfs and mm_stat must show of every pool alive at every checkpoint.

    A checkpoint must be quiescent: no operation under way and no deferred free
    pending.  `single_threaded` says that operations and compactions never overlapped,
    no page allocation failed halfway and no page of an emptied zspage was locked: then
    everything is exact.  So it is, but for the peak, if the steps under the lock were
    followed to the end (`ordered`).  Otherwise objects are, and the rest has bounds that hold for
    every interleaving.  `recompressed` says that zram replaced objects without a look at the
    peak (recompress_slot() of 6.12.117 and 7.3.4).  Raises TraceError as replay().
    """
    tables = _tables(operations, geometry, single_threaded=single_threaded, ordered=ordered)
    return (
        *(
            replace(one, low=0, because=_UNSEEN) if recompressed and one.metric == "pages_peak" else one
            for one in tables
        ),
        *_huge_since(operations, geometry),
    )


def _tables(
    operations: Operations, geometry: Geometry, *, single_threaded: bool, ordered: Ordered | None
) -> Iterator[Expectation]:
    if not single_threaded and ordered is not None and ordered.followed:
        for snapshot in ordered.snapshots:
            for pool in snapshot.pools:
                yield from _in_order(snapshot.checkpoint, pool, geometry)
        return
    followed = _follow(operations, geometry)
    bounds = None if single_threaded else iter(_histories(operations, geometry))
    for snapshot in followed.snapshots:
        if bounds is None:
            for pool in snapshot.pools:
                yield from _exact(snapshot.checkpoint, pool, geometry)
        else:
            for pool, history in zip(snapshot.pools, next(bounds), strict=True):
                yield from _bounded(snapshot.checkpoint, pool, history, geometry)


def _huge_since(operations: Operations, geometry: Geometry) -> Iterator[Expectation]:
    """How many objects of a whole page there ever were.

    zram does not count one that it gives back because the disk is at its limit: it is freed by
    the thread that got it, and next.
    """
    whole = (operations.op == Op.MALLOC) & (operations.size == geometry.page_size)
    given_back = np.zeros(len(operations), bool)
    for thread in np.unique(operations.thread):
        rows = np.flatnonzero((operations.thread == thread) & (operations.op != Op.MARK))
        first, then = rows[:-1], rows[1:]
        given_back[first] = (operations.op[then] == Op.FREE) & (
            operations.handle[first] == operations.handle[then]
        )
    counts: dict[int, tuple[int, list[int]]] = {}
    created = 0
    for row in np.flatnonzero(whole | np.isin(operations.op, (Op.CREATE, Op.DESTROY, Op.MARK))).tolist():
        op, identity = operations.op[row], int(operations.pool[row])
        if op == Op.CREATE:
            counts[identity] = created, [0, 0]
            created += 1
        elif op == Op.DESTROY:
            del counts[identity]
        elif op == Op.MALLOC:
            counts[identity][1][0] += not given_back[row]
            counts[identity][1][1] += 1
        else:
            mark = operations.marks[int(operations.size[row])]
            for order, (low, high) in counts.values():
                yield Expectation(mark, order, "huge_pages_since", None, low, high, _EVER)


def _follow(operations: Operations, geometry: Geometry) -> Replay:
    """A long trace is followed by compiled code if numba is installed, with the same result."""
    if len(operations) >= _WORTHWHILE and importlib.util.find_spec("numba") is not None:
        from toolkit.model.replay_fast import replay_fast

        return replay_fast(operations, geometry)
    return replay(operations, geometry)


def _exact(checkpoint: str, pool: PoolSnapshot, geometry: Geometry) -> Iterator[Expectation]:
    def exactly(metric: str, value: int, size_class: int | None = None) -> Expectation:
        return Expectation(checkpoint, pool.order, metric, size_class, value, value, _FOLLOWED)

    for row in pool.table:
        for column, value in zip(geometry.fullness_columns, row.fullness, strict=True):
            yield exactly(column, value, row.size)
        yield exactly("obj_allocated", row.obj_allocated, row.size)
        yield exactly("obj_used", row.obj_used, row.size)
        yield exactly("pages_used", row.pages_used, row.size)
        yield exactly("freeable", row.freeable, row.size)
    yield exactly("objects", pool.objects)
    yield exactly("pages", pool.pages)
    yield exactly("pages_peak", pool.pages_peak)
    yield exactly("pages_compacted", pool.pages_compacted)
    yield exactly("compr_data_size", pool.object_bytes)
    yield exactly("huge_pages", pool.page_objects)


def _in_order(checkpoint: str, pool: PoolSnapshot, geometry: Geometry) -> Iterator[Expectation]:
    """Exact but for the peak: zram looks at the pool's pages after zs_malloc(), without its lock."""
    for expectation in _exact(checkpoint, pool, geometry):
        if expectation.metric == "pages_peak":
            yield replace(
                expectation,
                low=pool.pages,
                because="whoever allocated last saw no fewer pages than now, nobody more than there were",
            )
        else:
            yield replace(expectation, because=_IN_ORDER)


@dataclass(frozen=True)
class _History:
    """What bounds a pool under concurrency, counted from its creation.

    peaks, mallocs: by position of the class, the most objects alive at once and all
    objects ever; threads: those that operated on it; compacted: whether zs_compact() ran.
    """

    peaks: tuple[int, ...]
    mallocs: tuple[int, ...]
    threads: int
    compacted: bool


class _Counts:
    """One pool's counts while the trace is read."""

    def __init__(self, classes: int) -> None:
        self.used = [0] * classes
        self.peaks = [0] * classes
        self.mallocs = [0] * classes
        self.threads: set[int] = set()
        self.compacted = False
        self.positions: dict[int, int] = {}

    def history(self) -> _History:
        return _History(tuple(self.peaks), tuple(self.mallocs), len(self.threads), self.compacted)


def _histories(operations: Operations, geometry: Geometry) -> Iterator[tuple[_History, ...]]:
    """For each MARK, the history of every live pool in the order of creation."""
    pools: dict[int, _Counts] = {}
    columns = zip(
        operations.op.tolist(),
        operations.pool.tolist(),
        operations.size.tolist(),
        operations.handle.tolist(),
        operations.thread.tolist(),
        strict=True,
    )
    for op, identity, size, handle, thread in columns:
        if op == Op.CREATE:
            pools[identity] = _Counts(len(geometry.classes))
        elif op == Op.DESTROY:
            del pools[identity]
        elif op == Op.MARK:
            yield tuple(counts.history() for counts in pools.values())
        else:
            counts = pools[identity]
            counts.threads.add(thread)
            if op == Op.MALLOC:
                at = counts.positions[handle] = geometry.position(size)
                counts.used[at] += 1
                counts.mallocs[at] += 1
                counts.peaks[at] = max(counts.peaks[at], counts.used[at])
            elif op == Op.FREE:
                counts.used[counts.positions.pop(handle)] -= 1
            else:
                counts.compacted = True


def _zspages_at_most(used: int, peak: int, threads: int, size_class: SizeClass) -> int:
    """An upper bound of the zspages of a class at rest, for every interleaving.

    A thread adds a zspage only after it found all of them full under the class's lock,
    and adds it after dropping that lock.  Take the last such look: there were at most
    peak/N zspages then (the true peak exceeds the trace's by at most one operation a
    thread), and every thread can have added only one since.  At rest none is empty.
    """
    return min(used, (peak + threads) // size_class.objects + threads)


def _bounded(
    checkpoint: str, pool: PoolSnapshot, history: _History, geometry: Geometry
) -> Iterator[Expectation]:
    def within(metric: str, low: int, high: int, because: str, size_class: int | None = None) -> Expectation:
        return Expectation(checkpoint, pool.order, metric, size_class, low, high, because)

    threads = history.threads
    pages_low = pages_high = pages_ever = 0
    for row, size_class, peak, mallocs in zip(
        pool.table, geometry.classes, history.peaks, history.mallocs, strict=True
    ):
        n, p, used = size_class.objects, size_class.pages, row.obj_used
        least = -(-used // n)
        most = _zspages_at_most(used, peak, threads, size_class)
        why = f"{used} objects, {n} a zspage, at most {peak} before, {threads} threads"
        yield within("obj_used", used, used, _COUNTED, row.size)
        yield within("obj_allocated", least * n, most * n, why, row.size)
        yield within("pages_used", least * p, most * p, why, row.size)
        yield within("freeable", 0, (most - least) * p, why, row.size)
        for column, name in enumerate(geometry.fullness_columns):
            inuse = geometry.inuse_of(column, size_class)
            fit = min(most, used // inuse.start) if inuse else 0
            yield within(name, 0, fit, why, row.size)
        pages_low += least * p
        pages_high += most * p
        pages_ever += mallocs * p
    objects = pool.objects
    yield within("objects", objects, objects, _COUNTED)
    yield within("compr_data_size", pool.object_bytes, pool.object_bytes, _COUNTED)
    yield within("huge_pages", pool.page_objects, pool.page_objects, _COUNTED)
    yield within("pages", pages_low, pages_high, "the sum over its classes")
    yield within(
        "pages_peak", pages_low, pages_ever, "it was reached before, and no object needs two zspages"
    )
    if history.compacted:
        most_compacted = pages_ever - pages_low
        yield within("pages_compacted", 0, most_compacted, "zspages of all objects ever less those needed")
    else:
        yield within("pages_compacted", 0, 0, "zs_compact() never ran")


@dataclass(frozen=True)
class Violation:
    """An invariant that a class table breaks; size_class as in Expectation."""

    invariant: str
    size_class: int | None
    seen: str


def invariants(table: Sequence[ClassRow], geometry: Geometry, *, at_rest: bool) -> tuple[Violation, ...]:
    """What is wrong with an observed debugfs `classes`, none if nothing is.

    zsmalloc prints each class under the lock that guards it, so a row is consistent at
    any time; `at_rest` says that no deferred free was pending: then no zspage is empty.
    """
    known = [(c.index, c.size, c.pages) for c in geometry.classes]
    seen = [(row.index, row.size, row.pages_per_zspage) for row in table]
    if seen != known:
        wrong = Counter(seen)
        wrong.subtract(known)
        differing = sorted(line for line, count in wrong.items() if count)
        return (Violation("classes", None, f"(class, size, pages_per_zspage) on one side only: {differing}"),)
    return tuple(
        Violation(name, row.size, text)
        for row, size_class in zip(table, geometry.classes, strict=True)
        for name, text in _broken(row, size_class, geometry, at_rest=at_rest)
    )


def _broken(
    row: ClassRow, size_class: SizeClass, geometry: Geometry, *, at_rest: bool
) -> Iterator[tuple[str, str]]:
    n, p = size_class.objects, size_class.pages
    allocated, used = row.obj_allocated, row.obj_used
    if allocated % n:
        yield "whole-zspages", f"obj_allocated {allocated} is no multiple of {n}"
    zspages = allocated // n
    if row.pages_used != zspages * p:
        yield "pages-used", f"pages_used {row.pages_used}, but {zspages} zspages of {p} pages"
    if not 0 <= used <= allocated:
        yield "used-within-allocated", f"obj_used {used} of obj_allocated {allocated}"
        return
    freeable = (allocated - used) // n * p
    if row.freeable != freeable:
        yield (
            "freeable",
            f"freeable {row.freeable}, but {allocated - used} free objects make {freeable} pages",
        )
    listed = sum(row.fullness)
    if any(count < 0 for count in row.fullness) or listed > zspages:
        yield "fullness-sum", f"{row.fullness} zspages by fullness, {zspages} in all"
        return
    ranges = [geometry.inuse_of(column, size_class) for column in range(len(row.fullness))]
    for name, count, inuse in zip(geometry.fullness_columns, row.fullness, ranges, strict=True):
        if count and not inuse:
            yield "fullness-possible", f"{count} zspages in {name}, where none of {n} objects can be"
            return
    low = sum(count * inuse.start for count, inuse in zip(row.fullness, ranges, strict=True) if count)
    high = sum(count * (inuse.stop - 1) for count, inuse in zip(row.fullness, ranges, strict=True) if count)
    # What no column counts is full (where full zspages have no column) or empty.
    rest = zspages - listed
    full_is_listed = any(n in inuse for inuse in ranges)
    if full_is_listed:
        if at_rest and rest:
            yield "no-empty-zspage", f"{rest} zspages hold nothing"
    else:
        high += rest * n
        if at_rest:
            low += rest * n
    if not low <= used <= high:
        yield "used-by-fullness", f"obj_used {used}, but the zspages hold {low} to {high}"
