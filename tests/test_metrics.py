# SPDX-License-Identifier: GPL-2.0-only
"""A metric moved only where it left what repeats differ by, and only if somebody knows that."""

from __future__ import annotations

from pathlib import Path

from tests.report import runs
from toolkit import metrics, saved
from toolkit.evidence import BASELINE, END, Evidence
from toolkit.judge import Case


def _steps(*values: tuple[int, ...]) -> list[list[dict[str, int]]]:
    return [[{"vmstat/x": value} for value in repeats] for repeats in values]


def test_a_shift_beyond_the_noise_moved_and_stays_moved() -> None:
    first, second, third = metrics.moved(_steps((10, 12, 11), (10, 11, 12), (30, 31, 29), (30, 31, 30)))
    assert first == third == ()
    assert second is not None
    assert [str(one) for one in second] == ["vmstat/x 11 -> 30 (+19, noise 2)"]


def test_a_shift_within_the_noise_of_any_step_did_not_move() -> None:
    assert metrics.moved(_steps((10, 10), (15, 15), (0, 20))) == ((), ())


def test_overlapping_repeats_did_not_move() -> None:
    assert metrics.moved(_steps((10, 10, 40), (40, 40, 40))) == ((),)


def test_without_repeats_nobody_knows_the_noise() -> None:
    assert metrics.moved(_steps((10,), (20,), (20, 20), (20, 20))) == (None, None, ())
    assert metrics.moved(_steps((10, 10), ())) == (None,)


def test_the_clearest_comes_first_and_a_metric_that_one_lacks_is_left_out() -> None:
    steps = [
        [{"a": 0, "b": 0, "c": 0}, {"a": 1, "b": 0, "c": 0}],
        [{"a": 9, "b": 1}, {"a": 9, "b": 1}],
    ]
    (found,) = metrics.moved(steps)
    assert found is not None
    assert [one.metric for one in found] == ["b", "a"]


def test_a_recorded_cell_has_counters_of_every_source(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path / "cell")
    runs.leave_evidence(evidence)
    taken = evidence.checkpoint("compacted")
    for name in (BASELINE, END):
        taken_again = evidence.checkpoint(name)
        taken_again.parent.mkdir(exist_ok=True)
        import shutil

        shutil.copytree(taken, taken_again)
    vmstat = evidence.checkpoint(END) / "proc/vmstat"
    text = vmstat.read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("pgfault ")]
    vmstat.write_text(text.replace(line, f"pgfault {int(line.split()[1]) + 5}"), encoding="utf-8")
    facts = evidence.facts()
    saved.write(
        evidence.facts_file,
        type(facts)(
            **{**vars(facts), "checkpoints": (BASELINE, "compacted", END), "counters": {"writes": 3}}
        ),
    )
    found = metrics.measure(Case(evidence))
    assert found["vmstat/pgfault"] == 5
    assert found["workload/writes"] == 3
    assert found["trace/zs_malloc"] > 0
    (device,) = {name.split("/")[2] for name in found if name.startswith("mm_stat/compacted/")}
    assert found[f"mm_stat/compacted/{device}/mem_used_total"] > 0
