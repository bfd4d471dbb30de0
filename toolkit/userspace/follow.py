# SPDX-License-Identifier: GPL-2.0-only
"""Follow a guest's trace in the tree's own zsmalloc, compiled for user space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.deadline import Deadline
from toolkit.errors import TraceError
from toolkit.model.geometry import Geometry
from toolkit.model.operations import Op, Operations
from toolkit.model.pool import ClassRow
from toolkit.userspace.build import Program
from toolkit.userspace.library import REQUEST, Library, Request, open_library

_SLOTS = 16
_REQUESTS = {
    Op.CREATE: Request.CREATE,
    Op.DESTROY: Request.DESTROY,
    Op.MALLOC: Request.MALLOC,
    Op.FREE: Request.FREE,
    Op.COMPACT: Request.COMPACT,
}


@dataclass(frozen=True)
class PoolFollowed:
    """One live pool at a checkpoint; `order` is how many were created before it."""

    checkpoint: str
    order: int
    table: tuple[ClassRow, ...]
    pages_compacted: int


def follow(
    operations: Operations, program: Program, geometry: Geometry, *, deadline: Deadline
) -> tuple[PoolFollowed, ...]:
    """Every live pool at every checkpoint, if the operations took effect one after the other.

    CrashError if the tree's code breaks under them; TraceError if it refuses one, or if
    more pools are alive at a time than the program has room for.
    """
    slots, alive = _pools(operations)
    rows = np.zeros(len(operations), dtype=REQUEST)
    for op, request in _REQUESTS.items():
        rows["op"][operations.op == op] = request
    rows["a"], rows["b"] = slots, operations.size
    # Only one live object at a time has a handle: it tells objects apart as any number does.
    rows["c"] = np.unique(operations.handle, return_inverse=True)[1]
    followed: list[PoolFollowed] = []
    with open_library(program, deadline=deadline) as library:
        library.ask(Request.CONTENT, 0)
        at = 0
        for row, pools in alive:
            _submit(library, rows, at, row)
            mark = operations.marks[int(operations.size[row])]
            for slot, order in pools:
                followed.append(
                    PoolFollowed(
                        checkpoint=mark,
                        order=order,
                        table=library.classes(slot, geometry),
                        pages_compacted=library.ask(Request.PAGES_COMPACTED, slot),
                    )
                )
            at = row + 1
        _submit(library, rows, at, len(rows))
    return tuple(followed)


def _submit(library: Library, rows: NDArray[np.void], start: int, end: int) -> None:
    answers = library.submit(rows[start:end])
    refused = np.flatnonzero(answers < 0)
    if len(refused):
        row = start + int(refused[0])
        kind = Request(int(rows["op"][row])).name
        raise TraceError(f"operation {row} ({kind}) was answered by {int(answers[refused[0]])} in user space")


def _pools(
    operations: Operations,
) -> tuple[NDArray[np.uint32], list[tuple[int, tuple[tuple[int, int], ...]]]]:
    """The slot of each row's pool; and for each mark its row and the (slot, order) of the live pools."""
    slots = np.zeros(len(operations), dtype=np.uint32)
    free = list(range(_SLOTS - 1, -1, -1))
    live: dict[int, tuple[int, int]] = {}
    marks: list[tuple[int, tuple[tuple[int, int], ...]]] = []
    created = 0
    ops = (Op.CREATE, Op.DESTROY, Op.MARK)
    for row in np.flatnonzero(np.isin(operations.op, ops)).tolist():
        identity = int(operations.pool[row])
        if operations.op[row] == Op.MARK:
            marks.append((row, tuple(live.values())))
        elif operations.op[row] == Op.CREATE:
            if not free:
                raise TraceError(f"more than {_SLOTS} pools are alive at a time")
            live[identity] = free.pop(), created
            created += 1
            slots[row:][operations.pool[row:] == identity] = live[identity][0]
        elif identity in live:
            free.append(live.pop(identity)[0])
        else:
            raise TraceError(f"operation {row} destroys pool {identity:#x}, which was not created")
    return slots, marks
