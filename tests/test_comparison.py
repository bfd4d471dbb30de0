# SPDX-License-Identifier: GPL-2.0-only
"""Runs are compared by ranks, exactly, with a correction for many metrics, and never with too few repeats."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.report.runs import FILL, GOOD, record
from toolkit import comparison, saved
from toolkit.archive import Archive
from toolkit.comparison import hodges_lehmann
from toolkit.errors import InputError, UnknownNameError
from toolkit.evidence import Ending
from toolkit.record import Plan, Run, conclude

pytest.importorskip("scipy")


def test_the_shift_of_shifted_values_is_the_shift_and_lies_in_its_interval() -> None:
    a = [1.0, 4.0, 2.0, 8.0, 5.0]
    shift, low, high = hodges_lehmann(a, [value + 3 for value in a], confidence=0.95)
    assert shift == 3
    assert low <= 3 <= high


def test_the_interval_covers_the_true_shift_as_often_as_it_says() -> None:
    chance = random.Random(1)
    covered = 0
    for _ in range(400):
        a = [chance.gauss(0, 1) for _ in range(6)]
        b = [chance.gauss(2, 1) for _ in range(6)]
        _, low, high = hodges_lehmann(a, b, confidence=0.9)
        covered += low <= 2 <= high
    assert covered >= 350


def test_the_distribution_of_u_is_that_of_all_ways_to_deal_out_the_ranks() -> None:
    ways = [0] * 13
    for chosen in itertools.combinations(range(7), 3):
        ways[sum(rank - place for place, rank in enumerate(chosen))] += 1
    assert comparison._ways(3, 4) == ways


def test_p_is_exact_with_and_without_ties() -> None:
    assert comparison._p([1, 2, 3, 4], [5, 6, 7, 8]) == pytest.approx(2 / 70)
    assert comparison._p([1, 1, 1, 1], [2, 2, 2, 2]) == pytest.approx(2 / 70)


def _run(
    kept: Archive, values: Sequence[dict[str, int]], monkeypatch: pytest.MonkeyPatch, series: str = "none"
) -> Run:
    """A run whose cells' metrics are these."""
    cells = tuple(dataclasses.replace(FILL, series=series, repeat=n) for n in range(len(values)))
    run = kept.begin(["pageless"], cells)
    for cell, one in zip(cells, values, strict=True):
        run.cell_directory(cell).mkdir(parents=True)
        saved.write(run.record_file(cell), dataclasses.replace(record(cell, GOOD), counters=one))
    kept.end(run, conclude(Plan(run.id, "now", (), cells), run.records(), ()))
    monkeypatch.setattr(comparison, "measure", lambda _, record: record.counters)
    return run


def test_what_shifted_is_told_and_what_only_varied_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, chance = Archive(tmp_path), random.Random(1)

    def values(moved: int) -> list[dict[str, int]]:
        return [
            {"moved": moved + n, "same": 7, **{f"noise{i}": chance.randrange(1000) for i in range(20)}}
            for n in range(8)
        ]

    runs = [_run(kept, values(100), monkeypatch), _run(kept, values(200), monkeypatch, "pageless-owner")]
    found = comparison.compare(*(comparison.side(kept, run.id) for run in runs))
    assert [(one.metric, one.group, one.shift) for one in found.shifts] == [
        ("moved", "6.1 x86_64 base fill", 100)
    ]
    assert (found.tested, found.unchanged, found.too_few) == (21, 1, ())
    assert found.shifts[0].q == pytest.approx(21 * 2 / 12870)
    only = comparison.compare(*(comparison.side(kept, run.id) for run in runs), pattern="noise")
    assert (only.tested, only.shifts) == (20, ())


def test_three_repeats_are_not_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Archive(tmp_path)
    runs = [_run(kept, [{"x": n + base} for n in range(3)], monkeypatch) for base in (0, 100)]
    found = comparison.compare(*(comparison.side(kept, run.id) for run in runs))
    assert found.too_few == ("6.1 none x86_64 base fill: 3 and 3",)
    assert (found.tested, found.shifts) == (0, ())


def test_a_series_of_a_run_can_be_taken_alone_and_an_unknown_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Archive(tmp_path)
    run = _run(kept, [{"x": n} for n in range(4)], monkeypatch, "pageless-owner")
    with pytest.raises(UnknownNameError) as caught:
        comparison.compare(comparison.side(kept, f"{run.id}:pageless-ownr"), comparison.side(kept, run.id))
    assert caught.value.hint == "did you mean 'pageless-owner'?"


def test_runs_of_different_workloads_do_not_correspond(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Archive(tmp_path)
    one = _run(kept, [{"x": n} for n in range(4)], monkeypatch)
    other = _run(kept, [{"x": n} for n in range(4)], monkeypatch)
    for cell in other.plan().cells:
        changed = dataclasses.replace(record(cell, GOOD), cell=dataclasses.replace(cell, workload="churn"))
        saved.write(other.record_file(cell), changed)
    with pytest.raises(InputError, match="no cells that correspond"):
        comparison.compare(comparison.side(kept, one.id), comparison.side(kept, other.id))


def test_a_metrics_history_is_a_point_for_each_run_and_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Archive(tmp_path)
    first = _run(kept, [{"vmstat/x": n} for n in (1, 5, 3)], monkeypatch)
    second = _run(kept, [{"vmstat/x": 9}], monkeypatch, "pageless-owner")
    points = comparison.history(kept, "vmstat/x", limit=10)
    assert {(p.run, p.repeats, p.median, p.low, p.high) for p in points} == {
        (first.id, 3, 3, 1, 5),
        (second.id, 1, 9, 9, 9),
    }
    with pytest.raises(UnknownNameError) as caught:
        comparison.history(kept, "vmstat/xx", limit=10)
    assert caught.value.hint == "did you mean 'vmstat/x'?"


def test_a_cell_that_left_no_evidence_has_no_metrics(tmp_path: Path) -> None:
    kept = Archive(tmp_path)
    run = kept.begin(["pageless"], (FILL,))
    assert comparison.measure(run, record(FILL, GOOD, ending=Ending.UNBUILT)) == {}
