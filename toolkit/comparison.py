# SPDX-License-Identifier: GPL-2.0-only
"""Two runs compared metric by metric, and one metric through all runs that were kept."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from toolkit import metrics
from toolkit.archive import Archive
from toolkit.errors import InputError, MissingToolError, PagelessError, UnknownNameError
from toolkit.judge import Case
from toolkit.record import Cell, Record, Run

# The exact p of a rank test cannot go below 0.1 with three repeats on each side.
LEAST_REPEATS = 4

# So many ways to deal out the values are all tried; of more, as many are drawn.
_PERMUTATIONS = 20_000

# What makes cells comparable; of two runs that differ in one of them, that one is what is compared.
_FIELDS = ("kernel", "series", "arch", "config")


@dataclass(frozen=True)
class Side:
    """What is compared: a run, or only its cells with one series."""

    run: Run
    series: str | None

    @property
    def name(self) -> str:
        return self.run.id if self.series is None else f"{self.run.id}:{self.series}"

    def records(self) -> tuple[Record, ...]:
        found = [r for r in self.run.records() if self.series in (None, r.cell.series)]
        if not found:
            known = sorted({record.cell.series for record in self.run.records()})
            raise UnknownNameError(f"series of run {self.run.id}", str(self.series), known)
        return tuple(found)


@dataclass(frozen=True)
class Shift:
    """A metric of one group of cells on both sides.

    `shift` is Hodges and Lehmann's estimate of how much larger B's values are, between `low` and
    `high` with at least the confidence asked for; `p` the exact probability of ranks at least so far
    apart by chance, and `q` the same corrected for all metrics that were compared (Benjamini and
    Hochberg's false discovery rate).
    """

    group: str
    metric: str
    repeats: tuple[int, int]
    medians: tuple[float, float]
    shift: float
    low: float
    high: float
    p: float
    q: float


@dataclass(frozen=True)
class Comparison:
    """`tested` metrics that differ at all, `shifts` those whose q is at most `alpha`, least q first;
    `unchanged` those that are one and the same constant on both sides; `too_few` the groups with fewer
    than LEAST_REPEATS repeats on a side.
    """

    sides: tuple[str, str]
    alpha: float
    tested: int
    unchanged: int
    shifts: tuple[Shift, ...]
    too_few: tuple[str, ...]


def side(kept: Archive, name: str) -> Side:
    """RUN or RUN:SERIES."""
    run_id, _, series = name.partition(":")
    return Side(kept.find(run_id), series or None)


def compare(a: Side, b: Side, *, alpha: float = 0.05, pattern: str = "") -> Comparison:
    """What B differs in from A; only metrics that have `pattern` in their name, if it is given.

    Seeds and repeats of otherwise equal cells are the repeats.  InputError if the two have no cells
    that correspond.
    """
    try:
        from scipy import stats
    except ImportError:
        raise MissingToolError(
            "scipy is not installed", hint="pip install 'pageless[statistics]', or pip install scipy"
        ) from None
    left, right = _groups(a, b)
    common = [group for group in left if group in right]
    if not common:
        raise InputError(
            f"{a.name} and {b.name} have no cells that correspond",
            hint="the same workloads and, but for one thing, the same kernel, series, arch and config",
        )
    enough = [g for g in common if min(len(left[g]), len(right[g])) >= LEAST_REPEATS]
    found: list[Shift] = []
    unchanged = 0
    for group in enough:
        names = set.intersection(*map(set, (*left[group], *right[group])))
        for metric in sorted(name for name in names if pattern in name):
            values = [[float(one[metric]) for one in side] for side in (left[group], right[group])]
            if len({*values[0], *values[1]}) == 1:
                unchanged += 1
                continue
            shift, low, high = hodges_lehmann(values[0], values[1], confidence=1 - alpha)
            p = _p(values[0], values[1])
            medians = (statistics.median(values[0]), statistics.median(values[1]))
            repeats = (len(values[0]), len(values[1]))
            found.append(Shift(group, metric, repeats, medians, shift, low, high, p, 1.0))
    if found:
        corrected = stats.false_discovery_control([one.p for one in found])
        found = [dataclasses.replace(one, q=float(q)) for one, q in zip(found, corrected, strict=True)]
    significant = sorted(
        (one for one in found if one.q <= alpha), key=lambda one: (one.q, one.group, one.metric)
    )
    return Comparison(
        sides=(a.name, b.name),
        alpha=alpha,
        tested=len(found),
        unchanged=unchanged,
        shifts=tuple(significant),
        too_few=tuple(
            f"{group}: {len(left[group])} and {len(right[group])}" for group in common if group not in enough
        ),
    )


def hodges_lehmann(
    a: Sequence[float], b: Sequence[float], *, confidence: float
) -> tuple[float, float, float]:
    """The median of all differences of a value of b from one of a, and the interval around it.

    The interval leaves out as many of the differences at each end as the exact distribution of Mann
    and Whitney's U allows for that confidence; with few values it leaves out none, and is too narrow
    where even that is not enough (three values on each side, at 95 %).
    """
    differences = sorted(y - x for x in a for y in b)
    ways = _ways(len(a), len(b))
    allowed = (1 - confidence) / 2 * sum(ways)
    rank, below = 0, ways[0]
    while below <= allowed:
        rank += 1
        below += ways[rank]
    ends = max(0, rank - 1)
    return statistics.median(differences), differences[ends], differences[-1 - ends]


def _ways(n: int, m: int) -> list[int]:
    """In how many ways U of n and m values can be 0, 1, ... n * m: the Gaussian binomial coefficients."""
    ways = [1] + [0] * (n * m)
    for factor in range(1, n + 1):
        for u in range(n * m, m + factor - 1, -1):
            ways[u] -= ways[u - m - factor]
        for u in range(factor, n * m + 1):
            ways[u] += ways[u - factor]
    return ways


def _p(a: Sequence[float], b: Sequence[float]) -> float:
    """Mann and Whitney's two-sided p, exact, ties or not, as long as all permutations can be tried."""
    from scipy import stats

    tied = len({*a, *b}) < len(a) + len(b)
    if not tied:
        return float(stats.mannwhitneyu(a, b, method="exact").pvalue)
    if math.comb(len(a) + len(b), len(a)) > _PERMUTATIONS:
        return float(stats.mannwhitneyu(a, b, method="asymptotic").pvalue)
    method = stats.PermutationMethod(n_resamples=_PERMUTATIONS)
    return float(stats.mannwhitneyu(a, b, method=method).pvalue)


def _groups(
    a: Side, b: Side
) -> tuple[dict[str, list[Mapping[str, int]]], dict[str, list[Mapping[str, int]]]]:
    """The metrics of every repeat by group of cells, on both sides."""
    records = (a.records(), b.records())
    kept = []
    for field in _FIELDS:
        left, right = ({str(getattr(record.cell, field)) for record in some} for some in records)
        if left == right:
            kept.append(field)
        elif len(left) > 1 or len(right) > 1:
            raise InputError(
                f"the two differ in {field}, and not in one value each: {', '.join(sorted(left ^ right))}",
                hint="take one series of a run: RUN:SERIES" if field == "series" else "compare narrower runs",
            )
    found = []
    for side, some in zip((a, b), records, strict=True):
        groups: dict[str, list[Mapping[str, int]]] = defaultdict(list)
        for record in some:
            measured = measure(side.run, record)
            if measured:
                words = [str(getattr(record.cell, field)) for field in kept]
                groups[" ".join((*words, record.cell.workload))].append(measured)
        found.append(dict(groups))
    return found[0], found[1]


def measure(run: Run, record: Record) -> Mapping[str, int]:
    """The metrics of a cell; none of one whose evidence cannot be read: its verdict says so already."""
    try:
        return metrics.measure(Case(run.evidence(record.cell)))
    except PagelessError:
        return {}


@dataclass(frozen=True)
class Point:
    """A metric of one kind of cell in one run: its median over the repeats, the least and the largest."""

    run: str
    started: str
    cell: str
    repeats: int
    median: float
    low: int
    high: int


def history(kept: Archive, metric: str, *, limit: int) -> tuple[Point, ...]:
    """A metric in the newest `limit` runs, the oldest of them first; UnknownNameError if none has it."""
    points: list[Point] = []
    known: set[str] = set()
    for entry in reversed(kept.entries()[:limit]):
        run = kept.find(entry.id)
        values: dict[str, list[int]] = defaultdict(list)
        for record in run.records():
            measured = measure(run, record)
            known |= measured.keys()
            if metric in measured:
                values[_kind(record.cell)].append(measured[metric])
        points += _points(entry.id, entry.started, values)
    if not points:
        raise UnknownNameError("metric", metric, known)
    return tuple(points)


def _points(run: str, started: str, values: Mapping[str, list[int]]) -> Iterator[Point]:
    for cell, seen in sorted(values.items()):
        yield Point(run, started, cell, len(seen), statistics.median(seen), min(seen), max(seen))


def _kind(cell: Cell) -> str:
    return " ".join((cell.kernel, cell.series, cell.arch, cell.config, cell.workload))
