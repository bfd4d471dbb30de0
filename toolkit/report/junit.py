# SPDX-License-Identifier: GPL-2.0-only
"""A run as JUnit XML: a suite for each kernel, series and architecture, a case for each cell.

A failed expectation and a crash of the guest's kernel are failures; trouble of the rig is
an error, so that it is never read as a failed test.
"""

from __future__ import annotations

import re
from collections import defaultdict

import junitparser

from toolkit.record import Outcome, Plan, Record, Run
from toolkit.report import summary
from toolkit.verdict import Check, Status

# What XML 1.0 cannot hold, and consoles can.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(run: Run, outcome: Outcome) -> None:
    """Write the run's junit.xml."""
    run.junit_file.write_bytes(xml(run.plan(), outcome))


def xml(plan: Plan, outcome: Outcome) -> bytes:
    """The document, in UTF-8."""
    groups: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in summary.records(plan, outcome):
        groups[record.cell.kernel, record.cell.series, record.cell.arch].append(record)
    document = junitparser.JUnitXml("pageless")
    for group, records in groups.items():
        suite = junitparser.TestSuite(" ".join(group))
        suite.timestamp = plan.started
        suite.add_property("run", plan.id)
        for built in {record.built for record in records if record.built}:
            suite.add_property("version", built.version)
            suite.add_property("tree", built.tree_id)
            suite.add_property("release", built.release)
        suite.add_testcases(list(map(_case, records)))
        document.add_testsuite(suite)
    if outcome.across:
        suite = junitparser.TestSuite("across cells")
        suite.timestamp = plan.started
        suite.add_testcases(list(map(_across, outcome.across)))
        document.add_testsuite(suite)
    document.update_statistics()  # type: ignore[no-untyped-call]
    text: bytes = document.tostring()  # type: ignore[no-untyped-call]
    return text


def _case(record: Record) -> junitparser.TestCase:
    cell = record.cell
    repeat = f"-{cell.repeat}" if cell.repeat else ""
    case = junitparser.TestCase(
        f"{cell.workload}[{cell.config}-seed{cell.seed}{repeat}]",
        classname=f"{cell.kernel}.{cell.series}.{cell.arch}.{cell.config}",
        time=round(summary.took_s(record), 3),
    )
    checks = summary.failing(record)
    if checks:
        case.result = [_result(record.status, checks, record.detail)]
    elif record.status is Status.SKIP:
        case.result = [junitparser.Skipped("; ".join(check.summary for check in record.verdict.checks))]
    elif record.status is not Status.PASS:
        case.result = [_result(record.status, (), record.trouble or "nothing was checked")]
    passed = sum(check.status is Status.PASS for check in record.verdict.checks)
    lines = [
        f"{passed} of {len(record.verdict.checks)} checks hold",
        *(f"{name}: {count}" for name, count in sorted(record.counters.items())),
        f"again: {cell.command}",
    ]
    case.system_out = _clean("\n".join(lines))
    return case


def _across(check: Check) -> junitparser.TestCase:
    case = junitparser.TestCase(_clean(check.name), classname="across")
    if check.status is Status.SKIP:
        case.result = [junitparser.Skipped(_clean(check.summary))]
    elif check.status is not Status.PASS:
        case.result = [_result(check.status, (check,), "")]
    return case


def _result(
    status: Status, checks: tuple[Check, ...], detail: str
) -> junitparser.Error | junitparser.Failure:
    kind = junitparser.Error if status is Status.ERROR else junitparser.Failure
    message = f"{checks[0].name}: {checks[0].summary}" if checks else detail
    result = kind(_clean(message), status.value)
    result.text = _clean("\n\n".join([*map(_text, checks), detail]).strip())
    return result


def _text(check: Check) -> str:
    lines = [f"{check.status.value} {check.name}: {check.summary}"]
    for name, value in (("expected", check.expected), ("seen", check.seen), ("because", check.because)):
        if value:
            lines.append(f"{name}: {value}")
    return "\n".join(lines)


def _clean(text: str) -> str:
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
