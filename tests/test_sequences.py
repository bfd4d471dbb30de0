# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from toolkit import progress, sequences
from toolkit.sequences import Tally
from toolkit.verdict import Status

TALLY = Tally("6.1", "6.1.192", "none", "0" * 64, "1" * 64, 4096, 1000)


@pytest.fixture
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def test_a_campaign_of_no_sequence_proves_nothing() -> None:
    assert TALLY.status is Status.ERROR
    assert replace(TALLY, sequences=5).status is Status.ERROR


def test_one_sequence_that_differs_fails_a_campaign() -> None:
    some = replace(TALLY, sequences=5, requests={"MALLOC": 9})
    assert some.status is Status.PASS
    assert replace(some, differing={3: "the class table"}).status is Status.FAIL


@pytest.mark.kernel
def test_a_campaign_goes_on_where_it_stopped(own_state: None) -> None:
    def run(wanted: int) -> Tally:
        with progress.on(Console(stderr=True)) as shown:
            (one,) = sequences.tally(
                ["6.1"], "none", [4096], wanted=wanted, operations=60, seconds=600.0, progress=shown
            )
        return one

    first = run(2)
    assert (first.sequences, first.differing) == (2, {})
    more = run(4)
    assert more.sequences == 4
    assert list(sequences.kept()) == [more]
    assert sum(more.requests.values()) > sum(first.requests.values())
    assert run(4) == more
    assert more.status is Status.PASS
