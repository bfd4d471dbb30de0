# SPDX-License-Identifier: GPL-2.0-only
"""At the terminal: what failed, what was expected, and how to see it again."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from tests.report.runs import BAD, CHURN, FILL, GOOD, PATCHED, SPLAT, make, record
from toolkit.record import Outcome, Run
from toolkit.report import terminal
from toolkit.verdict import Check, Status


def shown(made: tuple[Run, Outcome], *, tty: bool = False, width: int = 100) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=tty, width=width, color_system="standard" if tty else None)
    terminal.show(console, *made)
    return out.getvalue()


def test_without_a_terminal_each_cell_is_one_plain_line(tmp_path: Path) -> None:
    text = shown(make(tmp_path, [record(FILL, GOOD), record(CHURN, GOOD)]))
    assert text.splitlines() == [
        "PASS  6.1 none x86_64 base fill seed 1 1 min 42 s",
        "PASS  6.1 none x86_64 base churn seed 7 #2 1 min 42 s",
        "",
        "PASS: 2 pass",
    ]


def test_a_failure_shows_expected_seen_why_and_how_to_repeat_it(tmp_path: Path) -> None:
    made = make(tmp_path, [record(FILL, GOOD), record(PATCHED, GOOD, BAD)])
    text = shown(made)
    told = text[text.index("\nFAIL 6.1 pageless-owner") :].splitlines()[1:]
    assert told == [
        "FAIL 6.1 pageless-owner x86_64 base fill seed 1",
        "  model/freeable: compacted, zram0, class 3264: freeable expected 0, seen 8",
        "    expected 0",
        "    seen     8",
        "    because  one thread at a time: the model followed every operation of the trace",
        f"  again: {PATCHED.command}",
        f"  files: {made[0].cell_directory(PATCHED)}",
        "",
        "FAIL: 1 fail, 1 pass",
    ]


def test_the_kernels_words_are_cut_short_and_are_no_markup(tmp_path: Path) -> None:
    text = shown(make(tmp_path, [record(FILL, SPLAT)]))
    assert "kernel BUG <script>alert(1)</script>" in text
    assert "... 11 more lines" in text
    bracket = Check("health", Status.FAIL, "a [red]bracket[/red] in [   1.0] a line")
    assert "a [red]bracket[/red] in [   1.0] a line" in shown(make(tmp_path / "b", [record(FILL, bracket)]))


def test_a_cell_that_never_ran_is_an_error_not_left_out(tmp_path: Path) -> None:
    text = shown(make(tmp_path, [record(FILL, GOOD)], unrun=[CHURN]))
    assert "ERROR 6.1 none x86_64 base churn seed 7 #2" in text
    assert "the run ended before this cell did" in text
    assert text.splitlines()[-1] == "ERROR: 1 error, 1 pass"


def test_checks_across_cells_are_told_and_counted(tmp_path: Path) -> None:
    across = [Check("cross-arch/fill", Status.FAIL, "tables differ"), Check("baseline/fill", Status.PASS, "")]
    text = shown(make(tmp_path, [record(FILL, GOOD)], across=across))
    assert "FAIL across cells\n  cross-arch/fill: tables differ\n" in text
    assert text.splitlines()[-1] == "FAIL: 1 pass; 1 of 2 checks across cells hold"


def test_on_a_terminal_the_cells_are_a_coloured_table(tmp_path: Path) -> None:
    made = make(tmp_path, [record(FILL, GOOD), record(PATCHED, BAD)])
    made[0].html_file.touch()
    text = shown(made, tty=True)
    assert "\x1b[32mPASS" in text
    assert "workload" in text.splitlines()[0]
    assert text.splitlines()[-1] == f"report: {made[0].html_file}"
