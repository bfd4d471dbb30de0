# SPDX-License-Identifier: GPL-2.0-only
"""JUnit XML that continuous integration reads as it is meant."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.report.runs import BAD, CHURN, FILL, GOOD, PATCHED, SPLAT, make, record
from toolkit.report import junit
from toolkit.verdict import Check, Status

NO_ZRAM = Check("needs", Status.SKIP, "the configuration lacks ZRAM")
LOST = Check("trace", Status.ERROR, "events were lost: 7 overrun", "0 lost", "7 overrun")


def test_suites_are_kernels_series_and_architectures_and_cases_are_cells(tmp_path: Path) -> None:
    run, outcome = make(tmp_path, [record(FILL, GOOD), record(CHURN, GOOD), record(PATCHED, BAD)])
    junit.write(run, outcome)
    root = ET.parse(run.junit_file).getroot()
    assert [suite.get("name") for suite in root] == ["6.1 none x86_64", "6.1 pageless-owner x86_64"]
    first = root[0]
    assert (first.get("tests"), first.get("failures"), first.get("errors")) == ("2", "0", "0")
    assert (root.get("tests"), root.get("failures")) == ("3", "1")
    cases = first.findall("testcase")
    assert [case.get("name") for case in cases] == ["fill[base-seed1]", "churn[base-seed7-2]"]
    assert {case.get("classname") for case in cases} == {"6.1.none.x86_64.base"}
    assert float(cases[0].get("time", "0")) == 102.5
    assert f"again: {FILL.command}" in (cases[0].findtext("system-out") or "")
    properties = {p.get("name"): p.get("value") for p in first.iter("property")}
    assert properties["tree"] == "f" * 40


def test_a_failed_check_is_a_failure_with_expected_and_seen(tmp_path: Path) -> None:
    run, outcome = make(tmp_path, [record(PATCHED, GOOD, BAD)])
    (failure,) = ET.fromstring(junit.xml(run.plan(), outcome)).iter("failure")
    assert failure.get("message") == f"model/freeable: {BAD.summary}"
    assert "expected: 0\nseen: 8\nbecause: one thread" in (failure.text or "")


def test_a_crash_is_a_failure_and_its_console_is_valid_xml(tmp_path: Path) -> None:
    cell = record(FILL, SPLAT, detail="pc : \x1b[31mzs_free\x00\ufffe")
    run, outcome = make(tmp_path, [cell])
    (failure,) = ET.fromstring(junit.xml(run.plan(), outcome)).iter("failure")
    assert failure.get("type") == "crash"
    assert "kernel BUG <script>" in (failure.text or "")
    assert "pc : \ufffd[31mzs_free\ufffd\ufffd" in (failure.text or "")


def test_trouble_of_the_rig_is_an_error_never_a_failed_test(tmp_path: Path) -> None:
    run, outcome = make(
        tmp_path, [record(FILL, LOST), record(dataclasses.replace(FILL, seed=2))], unrun=[CHURN]
    )
    root = ET.fromstring(junit.xml(run.plan(), outcome))
    assert [error.get("message") for error in root.iter("error")] == [
        "trace: events were lost: 7 overrun",
        "nothing was checked",
        "ending: the run ended before this cell did",
    ]
    assert list(root.iter("failure")) == []


def test_a_skip_has_its_reason(tmp_path: Path) -> None:
    run, outcome = make(tmp_path, [record(FILL, NO_ZRAM)])
    (skipped,) = ET.fromstring(junit.xml(run.plan(), outcome)).iter("skipped")
    assert skipped.get("message") == "the configuration lacks ZRAM"


def test_checks_across_cells_are_a_suite_of_their_own(tmp_path: Path) -> None:
    across = [Check("cross-arch/fill", Status.FAIL, "tables differ"), Check("baseline/fill", Status.PASS, "")]
    run, outcome = make(tmp_path, [record(FILL, GOOD)], across=across)
    suite = ET.fromstring(junit.xml(run.plan(), outcome))[-1]
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("across cells", "2", "1")
