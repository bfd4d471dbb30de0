# SPDX-License-Identifier: GPL-2.0-only
"""Follow what was seen under zsmalloc's locks, step by step, however many threads there were.

The trace says in which zspage each object was put, so that every step is compared with what
the model does there: the first one that differs is found, and not only its consequences at
the next checkpoint.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from toolkit.errors import TraceError
from toolkit.model.geometry import Geometry, Rules
from toolkit.model.operations import Step, Steps
from toolkit.model.pool import Pool
from toolkit.model.replay import Snapshot, snapshot


@dataclass(frozen=True)
class Ordered:
    """snapshots: one for each MARK that was reached, where pages_peak is the most there can have
    been; steps: how many were compared.

    difference: the first step that is not the model's, in words; unclear: why the steps
    cannot be followed at all.  Both are empty if every step was.
    """

    snapshots: tuple[Snapshot, ...]
    steps: int
    difference: str = ""
    unclear: str = ""

    @property
    def followed(self) -> bool:
        return not self.difference and not self.unclear


def follow(steps: Steps, geometry: Geometry) -> Ordered:
    """Carry out the steps on reference pools, up to the first that differs."""
    if unclear := _unclear(steps, geometry):
        return Ordered((), 0, unclear=unclear)
    follower = _Follower(steps, geometry)
    snapshots: list[Snapshot] = []
    try:
        snapshots.extend(follower.run())
    except _Differs as error:
        return Ordered(tuple(snapshots), error.row, difference=str(error))
    return Ordered(tuple(snapshots), len(steps))


def _unclear(steps: Steps, geometry: Geometry) -> str:
    if steps.deferred is None:
        return "nobody knows whether zspages were freed later than emptied"
    if steps.deferred:
        return f"zspages that were locked when they were emptied were freed later, {steps.deferred} times"
    if geometry.rules is Rules.SEARCH_BY_QUARTER and not steps.sources:
        return "compaction reorders lists also where it moves nothing, and this kernel does not show when"
    return ""


class _Differs(Exception):
    def __init__(self, row: int, text: str) -> None:
        super().__init__(text)
        self.row = row


class _Follower:
    """The pools, and which of the guest's zspages is which of theirs."""

    def __init__(self, steps: Steps, geometry: Geometry) -> None:
        self._steps = steps
        self._geometry = geometry
        # By identity: the order of creation, and the pool.
        self._pools: dict[int, tuple[int, Pool]] = {}
        self._zspages: dict[int, object] = {}
        self._identities: dict[object, int] = {}
        # By pool and class: the last row before which there was no room.
        self._full: dict[tuple[int, int], int] = {}
        # By pool: its classes by identity, the largest first, as a first compaction visits them.
        self._classes: defaultdict[int, dict[int, int]] = defaultdict(dict)
        # The rows of each thread that belong to compaction and are still to come.
        self._ahead: dict[int, deque[int]] = {
            int(thread): deque(
                np.flatnonzero(
                    (steps.thread == thread) & np.isin(steps.op, (Step.SOURCE, Step.MOVE))
                ).tolist()
            )
            for thread in np.unique(steps.thread)
        }

        # By thread: the pool, and the pages of a zspage that it freed under the lock, which it may still be
        # about to subtract from the pool's.  Those of other classes add theirs meanwhile, but where
        # one lock guards the whole pool.
        self._subtracting: dict[int, tuple[int, int]] = {}
        # By pool: the most pages that there can have been.
        self._most: dict[int, int] = {}

    def run(self) -> Iterator[Snapshot]:
        """What all pools hold at each MARK; _Differs at the first step that is not the model's."""
        steps = self._steps
        columns = (steps.op, steps.pool, steps.size, steps.handle, steps.zspage, steps.since, steps.thread)
        created = 0
        for row, (op, identity, size, handle, zspage, since, thread) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True)
        ):
            if op == Step.CREATE:
                self._pools[identity] = created, Pool(self._geometry)
                self._most[identity] = 0
                self._full.update({(identity, at): row for at in range(len(self._geometry.classes))})
                created += 1
            elif op == Step.MARK:
                pools = tuple(
                    replace(snapshot(order, pool), pages_peak=self._most[one])
                    for one, (order, pool) in self._pools.items()
                )
                yield Snapshot(steps.marks[size], pools)
            elif identity not in self._pools:
                raise _Differs(row, self.told(row, f"pool {identity:#x} was not seen to be created"))
            elif op == Step.DESTROY:
                del self._pools[identity]
                self._classes.pop(identity, None)
            else:
                before = self._pools[identity][1].pages
                try:
                    self._change(row, op, identity, size, handle, zspage, since, thread)
                except TraceError as error:
                    raise _Differs(row, self.told(row, error.message)) from None
                self._count(identity, thread, before)

    def _count(self, identity: int, thread: int, before: int) -> None:
        """After a step of a thread, which is past what it did before: the pages that there may be."""
        pages = self._pools[identity][1].pages
        self._subtracting.pop(thread, None)
        if pages < before and self._geometry.rules is not Rules.SEARCH_BY_QUARTER:
            self._subtracting[thread] = identity, before - pages
        late = sum(freed for pool, freed in self._subtracting.values() if pool == identity)
        self._most[identity] = max(self._most[identity], pages + late)

    def _change(
        self, row: int, op: int, identity: int, size: int, handle: int, zspage: int, since: int, thread: int
    ) -> None:
        if op == Step.MALLOC:
            self._malloc(row, identity, size, handle, zspage, since)
        elif op == Step.FREE:
            self._free(row, identity, handle)
        elif self._ahead[thread] and self._ahead[thread][0] == row:
            self._compact(row, identity, handle, zspage, thread)

    def told(self, row: int, what: str) -> str:
        """A step in words."""
        steps = self._steps
        marks = np.flatnonzero(steps.op[:row] == Step.MARK)
        after = f"after {steps.marks[int(steps.size[marks[-1]])]}" if len(marks) else "before any checkpoint"
        step = Step(int(steps.op[row])).name
        return f"step {row} ({step} by thread {steps.thread[row]}, {after}): {what}"

    def _malloc(self, row: int, identity: int, size: int, handle: int, zspage: int, since: int) -> None:
        pool = self._pools[identity][1]
        position = self._geometry.position(size)
        room = self._look(row, identity, position)
        there = self._zspages.get(zspage)
        wanted = "a new one" if room is None else f"{self._identities[room]:#x}"
        if there is not None and there is not room:
            what = f"{size} bytes went into zspage {zspage:#x}, the model takes {wanted}"
            raise _Differs(row, self.told(row, what))
        # Whoever found all of them full makes a new one, and does not look again.
        if there is None and self._full[identity, position] < since:
            what = f"{size} bytes went into a new zspage, though {wanted} had room all the time"
            raise _Differs(row, self.told(row, what))
        pool.alloc(size, handle, fresh=there is None)
        if there is None:
            self._name(pool.page_of(handle)[0], zspage)

    def _free(self, row: int, identity: int, handle: int) -> None:
        pool = self._pools[identity][1]
        self._look(row, identity, pool.position_of(handle))
        zspage, pages = pool.page_of(handle)[0], pool.pages
        pool.free(handle)
        if pool.pages < pages:
            self._forget(zspage)

    def _compact(self, row: int, identity: int, handle: int, size_class: int, thread: int) -> None:
        """All that is done with one source: its moves share one hold of the lock."""
        pool = self._pools[identity][1]
        ahead, steps = self._ahead[thread], self._steps
        most = None
        if steps.op[row] == Step.SOURCE:
            ahead.popleft()
            known = self._classes[identity]
            position = known.setdefault(size_class, len(self._geometry.classes) - 1 - len(known))
            if position < 0:
                raise _Differs(row, self.told(row, "compaction visits more classes than there are"))
            # What was not moved, though it could have been, was left for somebody who wants the lock.
            most = next((n for n, at in enumerate(ahead) if steps.op[at] == Step.SOURCE), len(ahead))
        else:
            position = pool.position_of(handle)
        self._look(row, identity, position)
        # A source comes off its list whether or not anything is moved out of it.
        source = pool.page_of(int(steps.handle[ahead[0]]))[0] if most != 0 else None
        pages = pool.pages
        moves = pool.compact_step(position, most)
        for number in range(most if most is not None else max(1, len(moves))):
            at = ahead.popleft() if ahead else row
            seen = int(steps.handle[at]), self._zspages.get(int(steps.zspage[at]))
            if number >= len(moves) or moves[number] != seen:
                wanted = self._in_words(moves[number]) if number < len(moves) else "nothing more"
                found = f"{seen[0]:#x} into zspage {int(steps.zspage[at]):#x}"
                raise _Differs(at, self.told(at, f"compaction moved {found}, the model moves {wanted}"))
        if most is not None and len(moves) > most:
            wanted = self._in_words(moves[most])
            raise _Differs(row, self.told(row, f"compaction stopped after {most}, the model moves {wanted}"))
        if pool.pages < pages and source is not None:
            self._forget(source)

    def _look(self, row: int, identity: int, position: int) -> object | None:
        """Where there is room in a class; that there is none is remembered."""
        room = self._pools[identity][1].room(position)
        if room is None:
            self._full[identity, position] = row
        return room

    def _name(self, zspage: object, identity: int) -> None:
        self._zspages[identity] = zspage
        self._identities[zspage] = identity

    def _forget(self, zspage: object) -> None:
        del self._zspages[self._identities.pop(zspage)]

    def _in_words(self, move: tuple[int, object]) -> str:
        return f"{move[0]:#x} into zspage {self._identities[move[1]]:#x}"
