# SPDX-License-Identifier: GPL-2.0-only
"""A run gathered for reading: class tables beside what was predicted, and curves of its counters."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.collect import samples, zsmalloc
from toolkit.collect.samples import Samples
from toolkit.errors import CaptureError, StoreError, TraceError
from toolkit.judge import Case
from toolkit.model.predict import predict
from toolkit.record import Cell, Outcome, Plan, Record, Run
from toolkit.report import plot, summary
from toolkit.report.plot import Figure, Plot

logger = logging.getLogger(__name__)

# By checkpoint, pool, class size and column: lowest and highest value expected.
Expected = Mapping[tuple[str, str, int, str], tuple[int, int]]

_COLUMNS = ("obj_allocated", "obj_used", "pages_used", "freeable")


@dataclass(frozen=True)
class Value:
    """One number of a table; `low` and `high` are None where nothing was expected."""

    seen: int | None
    low: int | None
    high: int | None

    @property
    def wrong(self) -> bool:
        if self.low is None or self.high is None:
            return False
        return self.seen is None or not self.low <= self.seen <= self.high

    @property
    def expected(self) -> str:
        if self.low is None:
            return "nothing"
        return str(self.low) if self.low == self.high else f"{self.low} to {self.high}"


@dataclass(frozen=True)
class Row:
    """One size class; `values` by column."""

    size: int
    values: tuple[Value, ...]

    @property
    def wrong(self) -> bool:
        return any(value.wrong for value in self.values)


@dataclass(frozen=True)
class Table:
    """A pool's classes at a checkpoint; the `omitted` classes are empty, as expected."""

    checkpoint: str
    pool: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    omitted: int
    pages: int

    @property
    def wrong(self) -> int:
        """How many values are not as expected."""
        return sum(value.wrong for row in self.rows for value in row.values)


@dataclass(frozen=True)
class CellView:
    """One cell: `tables` that are worth showing, and how many more are as expected.

    `missing` says why there is no table or no prediction, empty if there is one.
    """

    anchor: str
    record: Record
    tables: tuple[Table, ...]
    agreeing: int
    figures: tuple[Figure, ...]
    missing: str


@dataclass(frozen=True)
class Comparison:
    """Cells that differ in their series alone, the plan's first series first.

    `figures` has a row for each kind of plot, with a figure of the same axes for each
    cell; `counters` a row for each counter, with None where a cell has none.
    """

    title: str
    cells: tuple[CellView, ...]
    figures: tuple[tuple[Figure, ...], ...]
    counters: tuple[tuple[str, tuple[int | None, ...]], ...]


@dataclass(frozen=True)
class RunView:
    """All that the HTML report shows."""

    plan: Plan
    outcome: Outcome
    cells: tuple[CellView, ...]
    comparisons: tuple[Comparison, ...]


def gather(run: Run, outcome: Outcome) -> RunView:
    """Read what the run's cells left behind; what cannot be read is said in the view."""
    plan = run.plan()
    records = summary.records(plan, outcome)
    cells = tuple(_cell(n, record, Case(run.evidence(record.cell))) for n, record in enumerate(records))
    return RunView(plan, outcome, cells, tuple(_comparisons(cells)))


def _cell(number: int, record: Record, case: Case) -> CellView:
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    missing = ""
    try:
        moments = {name: files.uptime_s for name, files in case.snapshots.items()}
        try:
            expected = _expected(case)
        except (CaptureError, TraceError) as error:
            expected, missing = {}, f"no prediction: {error.message}"
        tables = tuple(_tables(case, expected))
        taken = samples.load(case.evidence.samples)
        figures = tuple(plot.draw([one])[0] for one in plots(taken, moments))
    except (CaptureError, StoreError) as error:
        missing = missing or error.message
    shown = tuple(table for table in tables if table.wrong) or _fullest(tables)
    return CellView(f"cell-{number}", record, shown, len(tables) - len(shown), figures, missing)


def _fullest(tables: Sequence[Table]) -> tuple[Table, ...]:
    best = max(tables, key=lambda table: table.pages, default=None)
    return () if best is None else (best,)


def _expected(case: Case) -> Expected:
    """What the model predicts of every class at every checkpoint, from the trace alone."""
    try:
        done = case.traced
    except StoreError as error:
        raise TraceError(error.message) from error
    return {
        (e.checkpoint, done.pools[e.pool], e.size_class, e.metric): (e.low, e.high)
        for e in predict(done.operations, case.geometry, single_threaded=case.facts.single_threaded)
        if e.size_class is not None
    }


def _tables(case: Case, expected: Expected) -> Iterator[Table]:
    sizes: dict[tuple[str, str], set[int]] = defaultdict(set)
    for checkpoint, pool, size, _ in expected:
        sizes[checkpoint, pool].add(size)
    for checkpoint, pools in case.tables.items():
        for pool, seen in pools.items():
            yield _table(checkpoint, pool, seen, expected, sizes[checkpoint, pool])


def _table(
    checkpoint: str, pool: str, seen: zsmalloc.ClassTable, expected: Expected, sizes: set[int]
) -> Table:
    fullness = tuple(seen.rows[0].fullness)
    columns = (*fullness, *_COLUMNS)
    by_size = {row.size: row for row in seen.rows}
    rows = []
    for size in sorted(by_size.keys() | sizes):
        known = by_size.get(size)
        numbers = (
            {} if known is None else {**known.fullness, **{name: getattr(known, name) for name in _COLUMNS}}
        )
        rows.append(
            Row(
                size,
                tuple(
                    Value(numbers.get(name), *expected.get((checkpoint, pool, size, name), (None, None)))
                    for name in columns
                ),
            )
        )
    shown = tuple(row for row in rows if row.wrong or any(value.seen for value in row.values))
    return Table(checkpoint, pool, columns, shown, len(rows) - len(shown), seen.pages_used)


def plots(taken: Samples, moments: Mapping[str, float]) -> Iterator[Plot]:
    """The curves that tell a run of zsmalloc: its memory, and what migration and compaction did.

    `moments` are the checkpoints' times in the guest, in seconds of uptime.
    """
    at = plot.thinned(len(taken))
    start = float(taken.uptime_s[0])
    time_s = tuple(np.round(taken.uptime_s[at] - start, 3).tolist())
    marks = {name: round(moment - start, 3) for name, moment in moments.items()}

    def drawn(title: str, unit: str, **lines: NDArray[np.generic]) -> Plot:
        values = {name: tuple(column[at].tolist()) for name, column in lines.items()}
        return Plot(title, unit, time_s, values, marks)

    def disks(field: str) -> NDArray[np.int64]:
        total = np.zeros(len(taken), np.int64)
        for name, column in taken.columns.items():
            if name.endswith(f"/{field}"):
                total += column
        return total

    def since(name: str) -> NDArray[np.int64]:
        column = taken.columns[name].copy()
        column -= column[0]
        return column

    mib = 1 << 20
    yield drawn(
        "zram",
        "MiB",
        stored=disks("orig_data_size") / mib,
        compressed=disks("compr_data_size") / mib,
        used=disks("mem_used_total") / mib,
    )
    if "nr_zspages" in taken.columns:
        yield drawn("zspages", "pages", nr_zspages=taken.columns["nr_zspages"])
    if "nr_free_pages" in taken.columns:
        yield drawn("free memory", "pages", nr_free_pages=taken.columns["nr_free_pages"])
    for title, names in (
        ("migration", ("pgmigrate_success", "pgmigrate_fail")),
        ("compaction", ("compact_success", "compact_fail", "compact_stall")),
    ):
        present = [name for name in names if name in taken.columns]
        if present:
            yield drawn(title, "events since the start", **{name: since(name) for name in present})


def _comparisons(cells: Sequence[CellView]) -> Iterator[Comparison]:
    groups: dict[Cell, list[CellView]] = defaultdict(list)
    for view in cells:
        cell = view.record.cell
        same = Cell(cell.kernel, "", cell.arch, cell.config, cell.workload, cell.seed, cell.repeat)
        groups[same].append(view)
    for same, members in groups.items():
        if len(members) > 1:
            yield Comparison(
                " ".join(same.label.split()),
                tuple(members),
                tuple(_side_by_side(members)),
                tuple(_counters([view.record for view in members])),
            )


def _side_by_side(members: Sequence[CellView]) -> Iterator[tuple[Figure, ...]]:
    titles = list(dict.fromkeys(figure.plot.title for view in members for figure in view.figures))
    for title in titles:
        found = [next((f.plot for f in view.figures if f.plot.title == title), None) for view in members]
        if all(found):
            yield plot.draw([one for one in found if one is not None])


def _counters(records: Sequence[Record]) -> Iterator[tuple[str, tuple[int | None, ...]]]:
    for name in sorted({name for record in records for name in record.counters}):
        yield name, tuple(record.counters.get(name) for record in records)
