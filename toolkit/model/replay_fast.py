# SPDX-License-Identifier: GPL-2.0-only
"""The replay of toolkit.model.replay compiled by numba: the same, many times as fast.

Zspages are rows of an array, lists are links between rows, and every handle is replaced
by the number of the zs_malloc() that returned it.  The number of zspages that a class
can need is known beforehand: for one thread it is never more than what the most objects
alive at once fill, since a zspage is added only when all others are full.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from toolkit.model.geometry import Geometry, Rules, group_by_quarter, group_by_tenth
from toolkit.model.operations import Op, Operations
from toolkit.model.pool import ClassRow
from toolkit.model.replay import Leftover, PoolSnapshot, Replay, Snapshot, replay

Ints = NDArray[np.int64]

# Columns of a zspage's row.
_BEFORE, _AFTER, _GROUP, _INUSE, _PLACES = range(5)
# Columns of a pool's row.
_PAGES, _PEAK, _COMPACTED = range(3)
_GROUPS = {Rules.SEARCH_BY_QUARTER: 4, Rules.SEARCH_BY_TENTH: 12}


def replay_fast(operations: Operations, geometry: Geometry) -> Replay:
    """As toolkit.model.replay.replay(), which is also asked what is wrong if anything is."""
    plan = _plan(operations, geometry)
    if plan is None:
        return replay(operations, geometry)
    groups = _GROUPS[geometry.rules]
    group_of = group_by_quarter if geometry.rules is Rules.SEARCH_BY_QUARTER else group_by_tenth
    classes = len(geometry.classes)
    objects = np.array([c.objects for c in geometry.classes], dtype=np.int64)
    pages = np.array([c.pages for c in geometry.classes], dtype=np.int64)
    # The group of each class for each number of objects in use.
    table = np.zeros((classes, int(objects.max()) + 1), dtype=np.int64)
    for at, n in enumerate(objects.tolist()):
        table[at, : n + 1] = [group_of(inuse, n) for inuse in range(n + 1)]
    marks = len(operations.marks)
    seen_classes = np.zeros((marks, plan.pools, classes, groups + 2), dtype=np.int64)
    seen_pools = np.zeros((marks, plan.pools, 3), dtype=np.int64)
    _run(
        operations.op,
        operations.size.astype(np.int64),
        plan.order,
        plan.position,
        plan.number,
        geometry.rules is Rules.SEARCH_BY_QUARTER,
        objects,
        pages,
        table,
        plan.first_zspage,
        plan.pools,
        groups,
        len(plan.sizes),
        seen_classes,
        seen_pools,
    )
    snapshots = tuple(
        Snapshot(
            operations.marks[mark],
            tuple(
                _snapshot(plan, geometry, order, row, seen_classes[mark, order], seen_pools[mark, order])
                for order in range(plan.pools)
                if plan.born[order] < row < plan.died[order]
            ),
        )
        for mark, row in _marks(operations)
    )
    return Replay(snapshots, plan.leftovers)


@dataclass(frozen=True)
class _Plan:
    """What the rows of a trace refer to, found before it is replayed.

    order, position, number: (n,) by row: the pool's number in the order of creation, the
    class's position, the number of the zs_malloc() that the row is or frees.  sizes,
    owners, freed: (m,) by that number: the bytes, the pool, the row that frees it (n if
    none).  first_zspage: (pools * classes + 1,) where the zspages of each begin.
    born, died: (pools,) rows.
    """

    pools: int
    order: Ints
    position: Ints
    number: Ints
    sizes: Ints
    owners: Ints
    made: Ints
    freed: Ints
    first_zspage: Ints
    born: Ints
    died: Ints
    leftovers: tuple[Leftover, ...]


def _plan(operations: Operations, geometry: Geometry) -> _Plan | None:
    """None if the trace cannot have happened."""
    n = len(operations)
    rows = np.arange(n)
    op = operations.op
    order = np.full(n, -1, dtype=np.int64)
    born: list[int] = []
    died: list[int] = []
    live: dict[int, int] = {}
    lifetimes = np.flatnonzero((op == Op.CREATE) | (op == Op.DESTROY))
    of_pool = {int(p): np.flatnonzero(operations.pool == p) for p in np.unique(operations.pool)}
    for row in lifetimes.tolist():
        identity = int(operations.pool[row])
        if (op[row] == Op.CREATE) == (identity in live):
            return None
        if op[row] == Op.CREATE:
            live[identity] = len(born)
            order[of_pool[identity][np.searchsorted(of_pool[identity], row) :]] = len(born)
            born.append(row)
            died.append(n)
        else:
            died[live.pop(identity)] = row
            order[of_pool[identity][np.searchsorted(of_pool[identity], row, side="right") :]] = -1
    order[op == Op.MARK] = -1
    if (order[op != Op.MARK] < 0).any() or (op > Op.MARK).any():
        return None

    is_malloc = op == Op.MALLOC
    touching = rows[is_malloc | (op == Op.FREE)]
    touching = touching[np.lexsort((touching, operations.handle[touching], order[touching]))]
    same = (order[touching][1:] == order[touching][:-1]) & (
        operations.handle[touching][1:] == operations.handle[touching][:-1]
    )
    mallocs = is_malloc[touching]
    # With each handle malloc and free alternate, and malloc comes first.
    if len(touching) and (not mallocs[0] or (mallocs[1:] == (same & mallocs[:-1])).any()):
        return None
    made = rows[is_malloc]
    sizes = operations.size[made].astype(np.int64)
    if len(sizes) and not 0 < sizes.min() <= sizes.max() <= geometry.page_size:
        return None
    number = np.full(n, -1, dtype=np.int64)
    number[made] = np.arange(len(made))
    frees = np.flatnonzero(~mallocs)
    number[touching[frees]] = number[touching[frees - 1]]
    freed = np.full(len(made), n, dtype=np.int64)
    freed[number[touching[frees]]] = touching[frees]

    positions = np.array([geometry.position(max(1, size)) for size in range(geometry.page_size + 1)])
    position = np.full(n, -1, dtype=np.int64)
    position[touching] = positions[sizes][number[touching]]
    owners = order[made]
    pools, classes = len(born), len(geometry.classes)
    ends = np.array([*died, n])[owners]
    left = np.bincount(owners[(freed > ends) & (ends < n)], minlength=pools)
    leftovers = tuple(
        Leftover(pool, int(left[pool])) for pool in np.argsort(died, kind="stable").tolist() if left[pool]
    )
    return _Plan(
        pools=pools,
        order=order,
        position=position,
        number=number,
        sizes=sizes,
        owners=owners,
        made=made,
        freed=freed,
        first_zspage=_first_zspages(operations, geometry, order * classes + position, pools * classes),
        born=np.array(born, dtype=np.int64),
        died=np.array(died, dtype=np.int64),
        leftovers=leftovers,
    )


def _first_zspages(operations: Operations, geometry: Geometry, key: Ints, keys: int) -> Ints:
    """Room for the zspages of each pool and class, as the places where they begin and the end."""
    rows = np.flatnonzero((operations.op == Op.MALLOC) | (operations.op == Op.FREE))
    rows = rows[np.argsort(key[rows], kind="stable")]
    step = np.where(operations.op[rows] == Op.MALLOC, 1, -1)
    used = np.cumsum(step)
    starts = np.flatnonzero(np.diff(key[rows], prepend=-1))
    peaks = np.zeros(keys, dtype=np.int64)
    if len(rows):
        # A group's sum begins where the sum before it ended.
        peaks[key[rows[starts]]] = np.maximum.reduceat(used, starts) - (used - step)[starts]
    objects = np.tile([c.objects for c in geometry.classes], keys // len(geometry.classes))
    needed = -(-peaks // objects) if keys else peaks
    return np.concatenate([[0], np.cumsum(needed)]).astype(np.int64)


def _marks(operations: Operations) -> list[tuple[int, int]]:
    rows = np.flatnonzero(operations.op == Op.MARK)
    return list(zip(operations.size[rows].tolist(), rows.tolist(), strict=True))


def _snapshot(
    plan: _Plan, geometry: Geometry, order: int, row: int, by_class: Ints, numbers: Ints
) -> PoolSnapshot:
    """The counts of one pool as the plain replay tells them."""
    table = []
    for size_class, counts in zip(geometry.classes, by_class.tolist(), strict=True):
        *groups, zspages, used = counts
        n, p = size_class.objects, size_class.pages
        table.append(
            ClassRow(
                index=size_class.index,
                size=size_class.size,
                fullness=tuple(groups[group] for group in geometry.column_groups),
                obj_allocated=zspages * n,
                obj_used=used,
                pages_used=zspages * p,
                pages_per_zspage=p,
                freeable=(zspages - -(-used // n)) * p,
            )
        )
    alive = plan.sizes[(plan.owners == order) & (plan.made < row) & (plan.freed > row)]
    pages, peak, compacted = numbers.tolist()
    return PoolSnapshot(
        order=order,
        table=tuple(table),
        pages=pages,
        pages_peak=peak,
        pages_compacted=compacted,
        object_bytes=int(alive.sum()),
        page_objects=int((alive == geometry.page_size).sum()),
    )


@numba.njit(cache=True)
def _unlink(zspages, heads, lengths, list_, z):  # type: ignore[no-untyped-def]
    before, after = zspages[z, _BEFORE], zspages[z, _AFTER]
    if before < 0:
        heads[list_] = after
    else:
        zspages[before, _AFTER] = after
    if after >= 0:
        zspages[after, _BEFORE] = before
    lengths[list_] -= 1


@numba.njit(cache=True)
def _insert(zspages, heads, lengths, key, groups, z, group, quarters):  # type: ignore[no-untyped-def]
    """At the head; by the rules of 6.1 behind it if it holds more."""
    list_ = key * groups + group
    head = heads[list_]
    zspages[z, _GROUP] = group
    if quarters and head >= 0 and zspages[z, _INUSE] < zspages[head, _INUSE]:
        before, after = head, zspages[head, _AFTER]
        zspages[head, _AFTER] = z
    else:
        before, after = -1, head
        heads[list_] = z
    zspages[z, _BEFORE], zspages[z, _AFTER] = before, after
    if after >= 0:
        zspages[after, _BEFORE] = z
    lengths[list_] += 1


@numba.njit(cache=True)
def _take(zspages, heads, lengths, key, groups, low, high, step):  # type: ignore[no-untyped-def]
    """The head of the first list that is not empty, off its list; -1 if all are."""
    for group in range(low, high, step):
        z = heads[key * groups + group]
        if z >= 0:
            _unlink(zspages, heads, lengths, key * groups + group, z)
            return z
    return -1


@numba.njit(cache=True)
def _add(zspages, stacks, holders, where, places, z, n, number):  # type: ignore[no-untyped-def]
    """Put an object into the place that was freed last."""
    base = zspages[z, _PLACES]
    zspages[z, _INUSE] += 1
    place = stacks[base + n - zspages[z, _INUSE]]
    holders[base + place] = number
    where[number], places[number] = z, place


@numba.njit(cache=True)
def _drop(zspages, stacks, holders, z, n, place):  # type: ignore[no-untyped-def]
    base = zspages[z, _PLACES]
    holders[base + place] = -1
    stacks[base + n - zspages[z, _INUSE]] = place
    zspages[z, _INUSE] -= 1


@numba.njit(cache=True)
def _move(zspages, stacks, holders, where, places, source, place, target, n):  # type: ignore[no-untyped-def]
    number = holders[zspages[source, _PLACES] + place]
    _add(zspages, stacks, holders, where, places, target, n, number)
    _drop(zspages, stacks, holders, source, n, place)


@numba.njit(cache=True)
def _run(  # type: ignore[no-untyped-def]
    op,
    size,
    order,
    position,
    number,
    quarters,
    objects,
    pages,
    table,
    first_zspage,
    pools,
    groups,
    mallocs,
    seen_classes,
    seen_pools,
):
    """Follow the rows; see toolkit.model.pool for the rules."""
    classes = len(objects)
    keys = pools * classes
    total = first_zspage[keys]
    zspages = np.zeros((total, 5), dtype=np.int64)
    heads = np.full(keys * groups, -1, dtype=np.int64)
    lengths = np.zeros(keys * groups, dtype=np.int64)
    spare = np.full(keys, -1, dtype=np.int64)
    counts = np.zeros(keys, dtype=np.int64)
    used = np.zeros(keys, dtype=np.int64)
    numbers = np.zeros((pools, 3), dtype=np.int64)
    where = np.zeros(mallocs, dtype=np.int64)
    places = np.zeros(mallocs, dtype=np.int64)
    room = 0
    for key in range(keys):
        n = objects[key % classes]
        for z in range(first_zspage[key], first_zspage[key + 1]):
            zspages[z, _PLACES] = room
            zspages[z, _AFTER] = spare[key]
            spare[key] = z
            room += n
    stacks = np.zeros(room, dtype=np.int32)
    holders = np.full(room, -1, dtype=np.int64)
    last = groups - 2

    for row in range(len(op)):
        pool = order[row]
        if op[row] == 2:
            at = position[row]
            key, n = pool * classes + at, objects[at]
            z = -1
            for group in range(last, -1, -1):
                z = heads[key * groups + group]
                if z >= 0:
                    break
            fresh = z < 0
            if fresh:
                z = spare[key]
                spare[key] = zspages[z, _AFTER]
                zspages[z, _INUSE] = 0
                base = zspages[z, _PLACES]
                for place in range(n):
                    stacks[base + place] = n - 1 - place
                    holders[base + place] = -1
                counts[key] += 1
                numbers[pool, _PAGES] += pages[at]
                numbers[pool, _PEAK] = max(numbers[pool, _PEAK], numbers[pool, _PAGES])
            _add(zspages, stacks, holders, where, places, z, n, number[row])
            used[key] += 1
            group = table[at, zspages[z, _INUSE]]
            if fresh:
                _insert(zspages, heads, lengths, key, groups, z, group, quarters)
            elif group != zspages[z, _GROUP]:
                _unlink(zspages, heads, lengths, key * groups + zspages[z, _GROUP], z)
                _insert(zspages, heads, lengths, key, groups, z, group, quarters)
        elif op[row] == 3:
            at = position[row]
            key, n = pool * classes + at, objects[at]
            z = where[number[row]]
            _drop(zspages, stacks, holders, z, n, places[number[row]])
            used[key] -= 1
            group = table[at, zspages[z, _INUSE]]
            if group != zspages[z, _GROUP]:
                _unlink(zspages, heads, lengths, key * groups + zspages[z, _GROUP], z)
                if group > 0:
                    _insert(zspages, heads, lengths, key, groups, z, group, quarters)
                else:
                    zspages[z, _AFTER] = spare[key]
                    spare[key] = z
                    counts[key] -= 1
                    numbers[pool, _PAGES] -= pages[at]
        elif op[row] == 4:
            for at in range(classes - 1, -1, -1):
                key, n = pool * classes + at, objects[at]
                freed = 0
                target = -1
                while True:
                    freeable = counts[key] - -(-used[key] // n)
                    if not quarters and freeable <= 0:
                        break
                    if not quarters and target < 0:
                        target = _take(zspages, heads, lengths, key, groups, last, 0, -1)
                        if target < 0:
                            break
                    source = _take(zspages, heads, lengths, key, groups, 1, last + 1, 1)
                    if source < 0:
                        break
                    place = 0
                    base = zspages[source, _PLACES]
                    if quarters:
                        while freeable > 0 and zspages[source, _INUSE] > 0:
                            target = _take(zspages, heads, lengths, key, groups, last, 0, -1)
                            if target < 0:
                                break
                            while zspages[source, _INUSE] > 0 and zspages[target, _INUSE] < n:
                                while holders[base + place] < 0:
                                    place += 1
                                _move(zspages, stacks, holders, where, places, source, place, target, n)
                            group = table[at, zspages[target, _INUSE]]
                            _insert(zspages, heads, lengths, key, groups, target, group, True)
                    else:
                        while zspages[source, _INUSE] > 0 and zspages[target, _INUSE] < n:
                            while holders[base + place] < 0:
                                place += 1
                            _move(zspages, stacks, holders, where, places, source, place, target, n)
                    if zspages[source, _INUSE] > 0:
                        group = table[at, zspages[source, _INUSE]]
                        _insert(zspages, heads, lengths, key, groups, source, group, quarters)
                    else:
                        zspages[source, _AFTER] = spare[key]
                        spare[key] = source
                        counts[key] -= 1
                        freed += 1
                    if quarters:
                        if zspages[source, _INUSE] > 0:
                            break
                    elif zspages[target, _INUSE] == n:
                        _insert(zspages, heads, lengths, key, groups, target, groups - 1, False)
                        target = -1
                if not quarters and target >= 0:
                    group = table[at, zspages[target, _INUSE]]
                    _insert(zspages, heads, lengths, key, groups, target, group, False)
                numbers[pool, _PAGES] -= freed * pages[at]
                numbers[pool, _COMPACTED] += freed * pages[at]
        elif op[row] == 5:
            mark = size[row]
            for key in range(keys):
                for group in range(groups):
                    seen_classes[mark, key // classes, key % classes, group] = lengths[key * groups + group]
                seen_classes[mark, key // classes, key % classes, groups] = counts[key]
                seen_classes[mark, key // classes, key % classes, groups + 1] = used[key]
            for one in range(pools):
                for column in range(3):
                    seen_pools[mark, one, column] = numbers[one, column]
