# SPDX-License-Identifier: GPL-2.0-only
"""Who locks tail pages: the callers that the kernels of some runs counted, one beside the other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from toolkit.collect import tail_locks
from toolkit.collect.snapshot import Snapshot
from toolkit.collect.tail_locks import SELFTEST, SELFTEST_CALLER, TailLock
from toolkit.errors import InputError, UnreachedError
from toolkit.evidence import END, Ending
from toolkit.kernel import series
from toolkit.record import Record, Run

# The series whose kernels count.
SERIES = "census"


@dataclass(frozen=True)
class Column:
    """The kernel that counted, by what it is beside the census, and the workloads that it counted."""

    series: str
    arch: str
    version: str
    tree_id: str
    config: str
    workloads: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.series} {self.arch}"


@dataclass(frozen=True)
class Row:
    """How often a caller did it, for each column."""

    lock: TailLock
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Table:
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def tabulate(runs: Iterable[Run]) -> Table:
    """What the guests of some runs had counted at their ends, those of the same kernel together.

    UnreachedError if a kernel lost some or did not count its own self-test: its table means nothing.
    InputError if no kernel counts at all.
    """
    counts: defaultdict[Column, Counter[TailLock]] = defaultdict(Counter)
    workloads: defaultdict[Column, tuple[str, ...]] = defaultdict(tuple)
    for run in runs:
        for record in run.records():
            counted = _counted(run, record)
            if counted is not None:
                assert record.built is not None
                cell, built = record.cell, record.built
                kernel = Column(beside(cell.series), cell.arch, built.version, built.tree_id, cell.config)
                counts[kernel].update(counted)
                workloads[kernel] += (f"{cell.workload} seed {cell.seed}",)
    if not counts:
        raise InputError(
            "no kernel of these runs counts who locks tail pages",
            hint=f"pageless run --series {SERIES} --config movers --workload census",
        )
    locks = sorted({lock for one in counts.values() for lock in one})
    return Table(
        tuple(replace(kernel, workloads=workloads[kernel]) for kernel in counts),
        tuple(Row(lock, tuple(one[lock] for one in counts.values())) for lock in locks),
    )


def beside(name: str) -> str:
    """What a stack of series is without the census: "none", if nothing is left."""
    return "+".join(part for part in name.split("+") if part != SERIES) or series.BASELINE


def _counted(run: Run, record: Record) -> Mapping[TailLock, int] | None:
    """What a cell's guest counted but for the self-test; None of one that does not count, or did not end."""
    if record.ending is not Ending.FINISHED:
        return None
    files = Snapshot.load(run.evidence(record.cell).checkpoint(END))
    if tail_locks.FILE not in files:
        return None
    found = tail_locks.COLLECTOR.read(files, tail_locks.FILE)
    seen = found.of(SELFTEST_CALLER)
    if found.lost or seen != SELFTEST:
        raise UnreachedError(
            f"{record.cell.label}: its kernel does not count as it should",
            detail=f"lost: {found.lost}; of its self-test {dict(SELFTEST)} it counted {dict(seen)}",
        )
    return {lock: count for lock, count in found.counts.items() if lock.caller != SELFTEST_CALLER}
