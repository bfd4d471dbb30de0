# SPDX-License-Identifier: GPL-2.0-only
"""The search finds the first bad step although most runs of a bad one say nothing."""

from __future__ import annotations

import random

import pytest

from toolkit.bisection.search import Search

CONFIDENCE = 0.97


def _find(last: int, first_bad: int, rate: float, seed: int, untestable: tuple[int, ...] = ()) -> Search:
    """Search where each run of a bad step is noticed with that probability."""
    chance = random.Random(seed)
    search = Search(last)
    while search.runs < 500 and search.beliefs().max() < CONFIDENCE:
        step = search.next()
        if step is None:
            break
        if step in untestable:
            search.cannot_test(step)
        else:
            search.saw(step, step >= first_bad and chance.random() < rate)
    return search


@pytest.mark.parametrize("rate", [0.2, 0.4, 0.6])
def test_a_fault_that_some_runs_notice_is_found_in_nine_of_ten_searches(rate: float) -> None:
    found = [
        int(_find(12, 1 + seed % 12, rate, seed).beliefs().argmax()) == 1 + seed % 12 for seed in range(60)
    ]
    assert sum(found) >= 54


def test_a_fault_that_every_run_notices_costs_few_runs() -> None:
    searches = [_find(64, first, 1.0, first) for first in range(1, 65, 7)]
    assert [int(search.beliefs().argmax()) for search in searches] == list(range(1, 65, 7))
    assert max(search.runs for search in searches) < 40


def test_what_was_bad_before_and_what_is_never_bad_are_answers_too() -> None:
    assert _find(12, 0, 0.5, 1).beliefs().argmax() == 0
    never = _find(12, 13, 0.5, 1)
    assert never.beliefs().argmax() == 13
    assert not never.bad


def test_steps_that_cannot_be_tested_leave_their_neighbours_in_doubt() -> None:
    search = _find(12, 6, 1.0, 1, untestable=(5, 6))
    beliefs = search.beliefs()
    assert search.next() is None or beliefs.max() < CONFIDENCE
    assert beliefs[5:8].sum() > CONFIDENCE


def test_the_rate_is_learned_from_the_runs() -> None:
    search = Search(3)
    for number in range(40):
        search.saw(3, number % 4 == 0)
    assert search.rate == pytest.approx(0.25, abs=0.07)
