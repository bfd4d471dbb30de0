# SPDX-License-Identifier: GPL-2.0-only
"""Follow a trace through the reference pools and tell what they hold at each checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.errors import TraceError
from toolkit.model.geometry import Geometry
from toolkit.model.operations import Op, Operations
from toolkit.model.pool import ClassRow, Pool


@dataclass(frozen=True)
class PoolSnapshot:
    """One live pool at a checkpoint.

    order: how many pools were created before it; table: as debugfs `classes`; pages:
    held by zspages; pages_peak: the most it ever held; pages_compacted: freed by
    zs_compact() so far; object_bytes: the sum of the sizes asked for; page_objects:
    the objects of a whole page (what zram calls huge).
    """

    order: int
    table: tuple[ClassRow, ...]
    pages: int
    pages_peak: int
    pages_compacted: int
    object_bytes: int
    page_objects: int

    @property
    def objects(self) -> int:
        return sum(row.obj_used for row in self.table)

    @property
    def freeable(self) -> int:
        """Pages: what the shrinker's count says."""
        return sum(row.freeable for row in self.table)


@dataclass(frozen=True)
class Snapshot:
    """All live pools at one checkpoint, in the order of their creation."""

    checkpoint: str
    pools: tuple[PoolSnapshot, ...]


@dataclass(frozen=True)
class Leftover:
    """A pool that was destroyed while it held objects: the kernel leaks their pages."""

    order: int
    objects: int


@dataclass(frozen=True)
class Replay:
    """snapshots: one for each MARK, in order; leftovers: pools destroyed too early."""

    snapshots: tuple[Snapshot, ...]
    leftovers: tuple[Leftover, ...]


def replay(operations: Operations, geometry: Geometry) -> Replay:
    """What the pools hold at every MARK if the operations took effect one after the other.

    Raises TraceError, with the row, where the trace cannot have happened.
    """
    pools: dict[int, tuple[int, Pool]] = {}
    created = 0
    snapshots: list[Snapshot] = []
    leftovers: list[Leftover] = []
    columns = zip(
        operations.op.tolist(),
        operations.pool.tolist(),
        operations.size.tolist(),
        operations.handle.tolist(),
        strict=True,
    )
    for row, (op, identity, size, handle) in enumerate(columns):
        try:
            if op == Op.MALLOC:
                pools[identity][1].alloc(size, handle)
            elif op == Op.FREE:
                pools[identity][1].free(handle)
            elif op == Op.COMPACT:
                pools[identity][1].compact()
            elif op == Op.MARK:
                snapshots.append(
                    Snapshot(
                        operations.marks[size],
                        tuple(snapshot(order, pool) for order, pool in pools.values()),
                    )
                )
            elif op == Op.CREATE:
                if identity in pools:
                    raise TraceError(f"zs_create_pool() returned pool {identity:#x}, which exists")
                pools[identity] = created, Pool(geometry)
                created += 1
            elif op == Op.DESTROY:
                order, pool = pools.pop(identity)
                objects = sum(1 for _ in pool.sizes)
                if objects:
                    leftovers.append(Leftover(order, objects))
            else:
                raise TraceError(f"no operation has the number {op}")
        except KeyError:
            raise TraceError(
                f"operation {row} ({Op(op).name}) is on pool {identity:#x}, which was not seen to be created",
                hint="start the trace before the pool",
            ) from None
        except TraceError as error:
            raise TraceError(f"operation {row}: {error.message}", hint=error.hint) from None
    return Replay(tuple(snapshots), tuple(leftovers))


def snapshot(order: int, pool: Pool) -> PoolSnapshot:
    """What a pool holds now."""
    return PoolSnapshot(
        order=order,
        table=pool.table(),
        pages=pool.pages,
        pages_peak=pool.pages_peak,
        pages_compacted=pool.pages_compacted,
        object_bytes=sum(pool.sizes),
        page_objects=sum(size == pool.geometry.page_size for size in pool.sizes),
    )
