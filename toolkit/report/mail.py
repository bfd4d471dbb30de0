# SPDX-License-Identifier: GPL-2.0-only
"""A run as a plain text mail, ready for a mailing list: short lines, no markup, what to do again."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from pathlib import Path

from toolkit import render
from toolkit.record import Outcome, Plan, Record
from toolkit.report import summary
from toolkit.verdict import Status

TEMPLATE = Path(__file__).parent / "templates" / "mail.txt.j2"

# What a list's readers expect of a line, with room to be quoted.
WIDTH = 72


def text(plan: Plan, outcome: Outcome) -> str:
    """The mail, from its subject on."""
    records = summary.records(plan, outcome)
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.cell.kernel, record.cell.series].append(record)
    bad = [record for record in records if record.status not in (Status.PASS, Status.SKIP)]
    return render.render(
        TEMPLATE,
        status=outcome.status.value.upper(),
        plan=plan,
        counted=summary.counted([record.status for record in records]),
        groups=[
            {
                "name": f"{kernel} with series {series}",
                "built": next((record.built for record in members if record.built), None),
                "rows": [_row(record) for record in members],
            }
            for (kernel, series), members in groups.items()
        ],
        bad=[
            {
                "label": record.cell.label,
                "status": record.status.value.upper(),
                "checks": [_wrap(f"{c.name}: {c.summary}", "  ") for c in summary.failing(record)[:5]],
                "more": max(0, len(summary.failing(record)) - 5),
                "again": record.cell.command,
            }
            for record in bad
        ],
        across=[
            _wrap(f"{check.status.value.upper()} {check.name}: {check.summary}", "")
            for check in outcome.across
            if check.status not in (Status.PASS, Status.SKIP)
        ],
        holding=sum(check.status is Status.PASS for check in outcome.across),
        all_across=len(outcome.across),
    )


def _row(record: Record) -> str:
    cell = record.cell
    seed = f"seed {cell.seed}" + (f" #{cell.repeat}" if cell.repeat else "")
    return f"{record.status.value.upper():5}  {cell.arch:7}  {cell.config:8}  {cell.workload:22}  {seed}"


def _wrap(line: str, indent: str) -> str:
    """Short lines; what cannot be broken (a command, a path) stays long."""
    return textwrap.fill(
        " ".join(line.split()), WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
