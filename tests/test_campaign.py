# SPDX-License-Identifier: GPL-2.0-only
"""A campaign's book-keeping: who is counted, and what is tried again."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from toolkit import campaign, pipeline, saved
from toolkit.archive import Archive
from toolkit.campaign import Campaign, Fate, Finding, Findings, score, status_of
from toolkit.errors import InputError, UnknownNameError
from toolkit.evidence import Ending
from toolkit.kernel import faults
from toolkit.kernel.faults import Fault
from toolkit.pipeline import Target
from toolkit.progress import Plain, Progress
from toolkit.record import Cell, Record
from toolkit.verdict import Check, Status, Verdict

FAULT = faults.load("6.1", "free-panics")


def finding(fate: Fate, name: str = FAULT.name, arch: str = "x86_64") -> Finding:
    return Finding(name, FAULT.sha256, "6.1.192", arch, "base", 1, fate)


def marked(mark: str) -> Fault:
    return dataclasses.replace(FAULT, mark=mark)


@pytest.mark.parametrize(
    ("fate", "mark", "counted", "status"),
    [
        (Fate.KILLED, "", "killed", Status.PASS),
        (Fate.SURVIVED, "", "survived", Status.FAIL),
        (Fate.ERROR, "", "survived", Status.FAIL),
        (Fate.SURVIVED, "sometimes", "sometimes", Status.PASS),
        (Fate.KILLED, "sometimes", "killed", Status.PASS),
        (Fate.SURVIVED, "equivalent", "harmless", Status.PASS),
        (Fate.KILLED, "equivalent", "false", Status.FAIL),
        (Fate.SAME, "", "harmless", Status.PASS),
        (Fate.UNBUILT, "", "harmless", Status.PASS),
    ],
)
def test_a_fate_counts_by_the_mark_of_its_fault(fate: Fate, mark: str, counted: str, status: Status) -> None:
    numbers = score([finding(fate)], lambda _: marked(mark))
    assert getattr(numbers, counted) == 1
    assert numbers.of + numbers.harmless + numbers.false == 1
    assert status_of(numbers) is status


def test_a_campaign_that_tried_nothing_is_an_error() -> None:
    assert status_of(score([], lambda _: FAULT)) is Status.ERROR


def test_a_finding_is_of_the_fault_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "findings.json"
    saved.write(path, Findings().with_(finding(Fate.SURVIVED)).with_(finding(Fate.KILLED)))
    kept = campaign.load(path)
    assert [f.fate for f in kept.findings] == [Fate.KILLED]
    assert kept.of(FAULT, "x86_64") is not None
    assert kept.of(FAULT, "arm64") is None
    changed = dataclasses.replace(kept.findings[0], sha256="0")
    assert Findings((changed,)).of(FAULT, "x86_64") is None


def test_faults_are_named_or_given_as_patches_or_as_a_directory(tmp_path: Path) -> None:
    patch = faults.directory("6.1") / "spanning-write.patch"
    shutil.copy(patch, tmp_path / "mine.patch")
    named, given, found = campaign.selected(
        "6.1", ["spanning-write", str(tmp_path / "mine.patch"), str(tmp_path)]
    )
    assert (named.name, given.name, found.name) == ("spanning-write", "mine", "mine")
    assert named.sha256 == given.sha256 == found.sha256
    plain = tmp_path / "plain.patch"
    plain.write_bytes(patch.read_bytes().partition(b"\n---\n")[2])
    (told_nothing,) = campaign.selected("6.1", [str(plain)])
    assert (told_nothing.files, told_nothing.history) == (named.files, "")
    assert told_nothing.sha256 == named.sha256
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no patch"):
        campaign.selected("6.1", [str(tmp_path / "none")])
    with pytest.raises(InputError, match="there is no patch"):
        campaign.selected("6.1", [str(tmp_path / "absent.patch")])
    with pytest.raises(UnknownNameError):
        campaign.selected("6.1", ["absent"])


def test_a_fault_is_planted_in_the_series_that_it_tells_or_that_is_asked_for(tmp_path: Path) -> None:
    patch = tmp_path / "mine.patch"
    shutil.copy(faults.directory("6.1") / "spanning-write.patch", patch)
    (stock,) = campaign.selected("6.1", [str(patch)])
    assert stock.planted == str(patch)
    (mine,) = campaign.selected("6.1", [str(patch)], "pageless-owner")
    assert mine.planted == f"pageless-owner+{patch}"
    text = patch.read_text(encoding="utf-8")
    patch.write_text(text.replace("\n---\n", "Series: pageless-compound\n\n---\n", 1), encoding="utf-8")
    (told,) = campaign.selected("6.1", [str(patch)], "pageless-owner")
    assert told.planted == f"pageless-compound+{patch}"
    assert {fault.series for fault in campaign.selected("6.1", [])} == {"none"}
    with pytest.raises(InputError, match="is planted in census"):
        campaign.selected("6.1", [], "census")


def test_the_workloads_that_are_expected_to_find_it_run_first() -> None:
    plan = campaign.Campaign("6.1", "6.1", "x86_64", ("smoke",))
    expected = dataclasses.replace(FAULT, workloads=("zram-compact", "not-written-yet"))
    first, *others = plan.workloads_of(expected)
    assert first == "zram-compact"
    assert sorted([first, *others]) == sorted(plan.workloads_of(FAULT))


def test_what_fails_a_kernel_without_the_fault_has_not_found_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails_always, finds_it, never_asked = "fill", "churn", "zram-compact"
    asked: list[tuple[str, str]] = []

    def built(target: Target, _progress: Progress) -> tuple[Any, Any]:
        image = tmp_path / target.series.replace("/", "-")
        image.write_text(target.series, encoding="utf-8")
        return None, SimpleNamespace(image=image)

    def execute(_archive: Archive, cells: Sequence[Cell], **_options: object) -> tuple[None, Any]:
        (cell,) = cells
        asked.append((cell.series, cell.workload))
        good = cell.series == "none" and cell.workload != fails_always
        check = Check("content", Status.PASS if good else Status.FAIL, "")
        return None, SimpleNamespace(cells=[Record(cell, Ending.FINISHED, Verdict((check,)))])

    monkeypatch.setattr(pipeline, "patched", lambda *_: SimpleNamespace(version="6.1.192"))
    monkeypatch.setattr(pipeline, "built", built)
    monkeypatch.setattr(pipeline, "execute", execute)
    suspects = [dataclasses.replace(FAULT, name=name, workloads=()) for name in ("one", "two")]
    plan = Campaign("6.1", "6.1", "x86_64", (fails_always, finds_it, never_asked), simulate=False)
    tried = campaign.run(
        plan, suspects, tmp_path / "found.json", Archive(tmp_path), Plain(Console(quiet=True))
    )
    assert [(f.fate, f.killer, f.ran) for f in tried.findings] == [
        (Fate.KILLED, finds_it, (fails_always, finds_it))
    ] * 2
    of_good = [workload for series, workload in asked if series == "none"]
    assert of_good == [fails_always, finds_it]
    hopeless = Campaign("6.1", "6.1", "x86_64", (fails_always,), simulate=False)
    (only,) = campaign.run(
        hopeless, suspects[:1], tmp_path / "doubt.json", Archive(tmp_path), Plain(Console(quiet=True))
    ).findings
    assert (only.fate, only.summary) == (
        Fate.ERROR,
        f"{fails_always}: does not pass without the fault either",
    )
