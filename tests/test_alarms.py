# SPDX-License-Identifier: GPL-2.0-only
"""What is counted of good kernels that were run again and again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from toolkit import alarms, pipeline
from toolkit.alarms import Turn, Turns
from toolkit.archive import Archive
from toolkit.evidence import Ending
from toolkit.progress import Progress, on
from toolkit.record import Cell, Outcome, Record, conclude
from toolkit.verdict import Check, Status, Verdict

PASSED = Check("floor/zs_malloc", Status.PASS, "9 times")
EMPTY = Check("floor/zs_page_migrate", Status.ERROR, "exercised nothing: 0 times, at least 5 needed")
SKIPPED = Check("ending", Status.SKIP, "the kernel has no ZSWAP")


def outcome(archive: Archive, cells: tuple[Cell, ...], *checks: tuple[Check, ...]) -> tuple[Any, Outcome]:
    run = archive.begin(["pageless"], cells)
    records = tuple(
        Record(cell, Ending.FINISHED, Verdict(some), durations_s={"exercise": 2.0})
        for cell, some in zip(cells, checks, strict=True)
    )
    return run, conclude(run.plan(), records, ())


def cells(*workloads: str, seed: int = 1) -> tuple[Cell, ...]:
    return tuple(Cell("6.1", "none", "x86_64", "base", name, seed, 0) for name in workloads)


def test_a_floor_that_was_not_met_is_an_alarm_and_a_skipped_cell_is_none(tmp_path: Path) -> None:
    _, done = outcome(
        Archive(tmp_path), cells("fill", "churn", "zswap"), (PASSED,), (PASSED, EMPTY), (SKIPPED,)
    )
    numbers = alarms.counted(done)
    assert numbers["alarms"] == (f"churn: {EMPTY.name}: {EMPTY.summary}",)
    assert (numbers["cells"], numbers["skipped"], numbers["checks"], numbers["floors"]) == (3, 1, 3, 3)


def turn(seed: int, *complaints: str, checks: int = 10, arch: str = "x86_64") -> Turn:
    return Turn(
        "6.1.192", "t1", "none", arch, "base", "quick", seed, 3, 1, checks, 2, complaints, "r", 6.0, "now"
    )  # fmt: skip


def test_turns_are_added_up_by_kernel_and_the_fewest_checks_are_told() -> None:
    some = Turns((turn(1), turn(2, "churn: health: BUG", checks=8), turn(1, arch="arm64")))
    arm64, x86_64 = alarms.groups(some)
    assert (arm64.arch, arm64.turns, arm64.status) == ("arm64", 1, Status.PASS)
    assert (x86_64.turns, x86_64.cells, x86_64.fewest) == (2, 4, 8)
    assert x86_64.alarms == ("seed 2: churn: health: BUG",)
    assert x86_64.status is Status.FAIL


@pytest.mark.parametrize("check", [PASSED, EMPTY])
def test_a_turn_that_is_known_is_not_run_again_and_evidence_is_kept_of_alarms_only(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(tmp_path / "runs")
    ran: list[int] = []

    def execute(kept: Archive, some: tuple[Cell, ...], **_: Any) -> tuple[Any, Outcome]:
        ran.append(some[0].seed)
        return outcome(kept, some, *[(check,)] * len(some))

    tree = SimpleNamespace(version="6.1.192", tree_id="t1")
    monkeypatch.setattr(pipeline, "patched_all", lambda wanted, _: dict.fromkeys(wanted, tree))
    monkeypatch.setattr(pipeline, "execute", execute)

    def run(*seeds: int) -> Turns:
        from rich.console import Console

        with on(Console(stderr=True)) as progress:
            return _run(tmp_path / "alarms.json", archive, seeds, progress)

    run(1)
    assert len(run(1, 2).turns) == 2
    assert ran == [1, 2]
    assert (
        len(archive.entries()) == len(list(archive.root.glob("*/run.json"))) == (2 if check is EMPTY else 0)
    )


def _run(path: Path, archive: Archive, seeds: tuple[int, ...], progress: Progress) -> Turns:
    return alarms.run(
        path, archive, kernel="6.1", series=["none"], archs=["x86_64"], config="base", suite="smoke",
        seeds=seeds, seconds=60.0, jobs=1, progress=progress,
    )  # fmt: skip
