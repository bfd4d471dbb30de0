# SPDX-License-Identifier: GPL-2.0-only
"""Verdicts: the worst check counts."""

from __future__ import annotations

import itertools

import pytest

from toolkit.verdict import Check, Status, Verdict, worst


def check(status: Status) -> Check:
    return Check(f"a/{status.value}", status, "")


def test_verdict_without_checks_is_an_error_not_a_pass() -> None:
    assert Verdict(()).status is Status.ERROR


def test_verdict_of_skips_alone_is_a_skip_and_one_pass_makes_it_a_pass() -> None:
    assert Verdict((check(Status.SKIP),)).status is Status.SKIP
    assert Verdict((check(Status.SKIP), check(Status.PASS))).status is Status.PASS


@pytest.mark.parametrize(("better", "worse"), list(itertools.pairwise(Status)))
def test_the_worse_of_two_statuses_counts_in_either_order(better: Status, worse: Status) -> None:
    assert worst([better, worse]) is worst([worse, better]) is worse


def test_exit_statuses_are_those_that_bisect_reads() -> None:
    assert {status.value: status.exit_status for status in Status} == {
        "skip": 0,
        "pass": 0,
        "error": 125,
        "fail": 1,
        "crash": 3,
    }


def test_decisive_checks_are_those_of_the_worst_status_only() -> None:
    verdict = Verdict((check(Status.FAIL), check(Status.ERROR), check(Status.PASS)))
    assert [c.status for c in verdict.decisive] == [Status.FAIL]
    assert Verdict((check(Status.PASS),)).decisive == ()
