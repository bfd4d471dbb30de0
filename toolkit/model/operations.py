# SPDX-License-Identifier: GPL-2.0-only
"""What was done to zsmalloc, in order: the only thing that the reference model sees of a run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Op(IntEnum):
    """One kind of operation."""

    CREATE = 0  # zs_create_pool returned `pool`
    DESTROY = 1  # zs_destroy_pool(pool)
    MALLOC = 2  # zs_malloc(pool, size) returned `handle`
    FREE = 3  # zs_free(pool, handle)
    COMPACT = 4  # zs_compact(pool) began
    MARK = 5  # a checkpoint; `size` is its index into `marks`


@dataclass(frozen=True)
class Operations:
    """Columns of equal length n, one row an operation, in the order they took effect.

    op: (n,) uint8 of Op; pool: (n,) uint64, an opaque identity; size: (n,) uint32,
    bytes asked for (MALLOC) or an index into `marks` (MARK); handle: (n,) uint64,
    opaque, as returned or freed; thread: (n,) uint32, who did it.  Failed zs_malloc
    calls are left out.  `marks` names the checkpoints.
    """

    op: NDArray[np.uint8]
    pool: NDArray[np.uint64]
    size: NDArray[np.uint32]
    handle: NDArray[np.uint64]
    thread: NDArray[np.uint32]
    marks: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.op)


class Step(IntEnum):
    """One change of a pool, as it was seen while the lock that guards it was held."""

    CREATE = 0  # as in Op
    DESTROY = 1
    MALLOC = 2  # zs_malloc(pool, size) put `handle` into `zspage`
    FREE = 3  # zs_free(pool, handle)
    SOURCE = 4  # zs_compact(pool) took a zspage off a list of a class, to empty it
    MOVE = 5  # zs_compact(pool) moved `handle` into `zspage`
    MARK = 6


@dataclass(frozen=True)
class Steps:
    """Columns of equal length n, one row a step, in the order in which they took effect.

    op: (n,) uint8 of Step; pool, size, handle, thread and marks as in Operations;
    zspage: (n,) uint64, an opaque identity, of SOURCE that of the size class; since: (n,)
    int64, of MALLOC the first row that came after the call, of all others their own.

    sources: whether SOURCE was traced; deferred: how often the work ran that frees what
    could not be freed at once, None if nobody knows.
    """

    op: NDArray[np.uint8]
    pool: NDArray[np.uint64]
    size: NDArray[np.uint32]
    handle: NDArray[np.uint64]
    zspage: NDArray[np.uint64]
    since: NDArray[np.int64]
    thread: NDArray[np.uint32]
    marks: tuple[str, ...]
    sources: bool
    deferred: int | None

    def __len__(self) -> int:
        return len(self.op)


class Recorder:
    """Builds Operations one by one, for those who have no trace of a guest."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, int, int, int]] = []
        self._marks: list[str] = []

    def create(self, pool: int = 0) -> None:
        self._rows.append((Op.CREATE, pool, 0, 0, 0))

    def destroy(self, pool: int = 0) -> None:
        self._rows.append((Op.DESTROY, pool, 0, 0, 0))

    def malloc(self, size: int, handle: int, *, pool: int = 0, thread: int = 0) -> None:
        self._rows.append((Op.MALLOC, pool, size, handle, thread))

    def free(self, handle: int, *, pool: int = 0, thread: int = 0) -> None:
        self._rows.append((Op.FREE, pool, 0, handle, thread))

    def compact(self, pool: int = 0) -> None:
        self._rows.append((Op.COMPACT, pool, 0, 0, 0))

    def mark(self, name: str) -> None:
        self._rows.append((Op.MARK, 0, len(self._marks), 0, 0))
        self._marks.append(name)

    def operations(self) -> Operations:
        """All that was recorded so far."""
        op, pool, size, handle, thread = zip(*self._rows, strict=True) if self._rows else ((),) * 5
        return Operations(
            op=np.array(op, dtype=np.uint8),
            pool=np.array(pool, dtype=np.uint64),
            size=np.array(size, dtype=np.uint32),
            handle=np.array(handle, dtype=np.uint64),
            thread=np.array(thread, dtype=np.uint32),
            marks=tuple(self._marks),
        )
