# SPDX-License-Identifier: GPL-2.0-only
"""A run at the terminal: a table of its cells, and what failed with what was expected.

Where nobody watches (a pipe, a log of continuous integration) it is plain lines, one a
cell, that grep finds.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from toolkit.record import Outcome, Record, Run
from toolkit.report import summary
from toolkit.verdict import Check, Status

STYLES = {
    Status.SKIP: "dim",
    Status.PASS: "green",
    Status.ERROR: "yellow",
    Status.FAIL: "red",
    Status.CRASH: "bold magenta",
}

# Of a report or a list that was expected or seen, so many lines are shown.
_LINES = 30


def show(console: Console, run: Run, outcome: Outcome) -> None:
    """Print what a run came to."""
    cells = summary.records(run.plan(), outcome)
    if console.is_terminal:
        console.print(_table(cells))
    else:
        for record in cells:
            _line(console, _row(record))
    for check in outcome.across:
        if check.status not in (Status.PASS, Status.SKIP):
            _lines(console, f"\n{_word(check.status)} across cells", _told(check))
    for record in cells:
        checks = summary.failing(record)
        if checks:
            told = [line for check in checks for line in _told(check)]
            if record.trouble and record.trouble not in (check.summary for check in checks):
                told.append(f"  {record.trouble}")
            told.append(f"  again: {record.cell.command}")
            told.append(f"  files: {run.cell_directory(record.cell)}")
            _lines(console, f"\n{_word(record.status)} {record.cell.label}", told)
    statuses = [record.status for record in cells]
    passed = sum(check.status is Status.PASS for check in outcome.across)
    across = f"; {passed} of {len(outcome.across)} checks across cells hold" if outcome.across else ""
    _line(console, "")
    total = f"{_word(outcome.status)}: {summary.counted(statuses)}{across}"
    console.print(Text(total, STYLES[outcome.status]), soft_wrap=True)
    if run.html_file.exists():
        _line(console, f"report: {run.html_file}")


def _table(cells: tuple[Record, ...]) -> Table:
    table = Table(
        "", "workload", "seed", "kernel", "series", "arch", "config", "took", box=None, pad_edge=False
    )
    for record in cells:
        cell = record.cell
        seed = f"{cell.seed} #{cell.repeat}" if cell.repeat else str(cell.seed)
        table.add_row(
            Text(_word(record.status), STYLES[record.status]),
            *map(Text, (cell.workload, seed, cell.kernel, cell.series, cell.arch, cell.config)),
            Text(summary.duration(summary.took_s(record)), justify="right"),
        )
    return table


def _row(record: Record) -> str:
    return f"{_word(record.status):5} {record.cell.label} {summary.duration(summary.took_s(record))}"


def _told(check: Check) -> Iterator[str]:
    yield f"  {check.name}: {check.summary}"
    for name, value in (("expected", check.expected), ("seen", check.seen), ("because", check.because)):
        if value:
            first, *rest = value.splitlines()
            yield f"    {name:8} {first}"
            yield from (f"    {'':8} {line}" for line in rest[:_LINES])
            if len(rest) > _LINES:
                yield f"    {'':8} ... {len(rest) - _LINES} more lines"


def _word(status: Status) -> str:
    return status.value.upper()


def _lines(console: Console, title: str, told: list[str] | Iterator[str]) -> None:
    _line(console, title)
    for line in told:
        _line(console, line)


def _line(console: Console, text: str) -> None:
    # What a kernel printed is no markup, and a long line is the reader's to wrap.
    console.print(text, markup=False, highlight=False, soft_wrap=True)
