# SPDX-License-Identifier: GPL-2.0-only
"""A run as KTAP version 1, which the kernel's tools read: a test for each cell, with its checks below it.

KTAP knows no trouble of the rig: a check that could not be made is one that was skipped, with the
reason, and so is a cell whose worst that is.  It is never an "ok" without that word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from toolkit.record import Outcome, Plan, Record
from toolkit.report import summary
from toolkit.verdict import Check, Status

# A "#" begins a directive; control characters of a console would end a line.
_UNCLEAN = re.compile(r"[\x00-\x1f\x7f#]+")


def text(plan: Plan, outcome: Outcome) -> str:
    """The whole document."""
    records = summary.records(plan, outcome)
    groups = [(record.status, record.cell.label, _cell(record)) for record in records]
    if outcome.across:
        groups.append((max(outcome.across, key=_severity).status, "across cells", _checks(outcome.across)))
    lines = ["KTAP version 1", f"1..{len(groups)}"]
    for number, (status, name, below) in enumerate(groups, 1):
        lines += (f"  {line}" for line in below)
        lines.append(_result(status, number, name, "the rig could not tell"))
    return "".join(f"{line}\n" for line in lines)


def _cell(record: Record) -> list[str]:
    return [*_checks(record.verdict.checks), f"# again: {_clean(record.cell.command)}"]


def _checks(checks: Sequence[Check]) -> list[str]:
    # A test that says it has some below it must have them.
    lines = ["KTAP version 1", f"1..{len(checks)}"] if checks else []
    for number, check in enumerate(checks, 1):
        lines += _diagnosis(check)
        lines.append(_result(check.status, number, check.name, check.summary))
    return lines


def _diagnosis(check: Check) -> Iterator[str]:
    if check.status in (Status.PASS, Status.SKIP):
        return
    told = {"": check.summary, "expected ": check.expected, "seen ": check.seen, "because ": check.because}
    for name, value in told.items():
        yield from (f"# {name}{_clean(line)}" for line in value.splitlines())


def _result(status: Status, number: int, name: str, reason: str) -> str:
    line = f"{'not ok' if status in (Status.FAIL, Status.CRASH) else 'ok'} {number} {_clean(name)}"
    if status in (Status.SKIP, Status.ERROR):
        line += f" # SKIP {'' if status is Status.SKIP else 'cannot tell: '}{_clean(reason)}"
    return line


def _severity(check: Check) -> int:
    return check.status.severity


def _clean(line: str) -> str:
    return " ".join(_UNCLEAN.sub(" ", line).split())
