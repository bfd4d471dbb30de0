# SPDX-License-Identifier: GPL-2.0-only
"""Progress where nobody watches: plain lines."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from toolkit import progress


def test_without_a_terminal_a_step_is_a_line_at_its_beginning_and_one_at_its_end() -> None:
    text = io.StringIO()
    with progress.on(Console(file=text)) as shown, shown.step("build [x86]") as say:
        say("CC mm/zsmalloc.o")
    first, last = text.getvalue().splitlines()
    assert first == "build [x86]"
    assert last.startswith("build [x86]: done in ")


def test_a_step_that_fails_says_so_and_lets_the_error_through() -> None:
    text = io.StringIO()
    with (
        pytest.raises(KeyError),
        progress.on(Console(file=text)) as shown,
        shown.step("boot"),
    ):
        raise KeyError
    assert "boot: gave up after" in text.getvalue()


def test_what_a_step_does_is_repeated_only_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_S", 0.0)
    text = io.StringIO()
    with progress.on(Console(file=text)) as shown, shown.step("build") as say:
        say("CC mm/zsmalloc.o")
    assert "build: CC mm/zsmalloc.o" in text.getvalue()
