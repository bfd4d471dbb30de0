# SPDX-License-Identifier: GPL-2.0-only
"""What every form of report says alike: which cells, how they stand, and what did not run at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from toolkit.evidence import Ending
from toolkit.record import Cell, Outcome, Plan, Record
from toolkit.verdict import Check, Status, Verdict

# From worst to best, as reports list them.
ORDER = tuple(sorted(Status, key=lambda status: -status.severity))


def records(plan: Plan, outcome: Outcome) -> tuple[Record, ...]:
    """A record for every cell of the plan, in its order: an ERROR for one that left none."""
    kept = {record.cell: record for record in outcome.cells}
    return tuple(kept.get(cell) or _absent(cell) for cell in plan.cells)


def _absent(cell: Cell) -> Record:
    check = Check(
        "ending", Status.ERROR, "the run ended before this cell did", expected="a record", seen="none"
    )
    return Record(cell, Ending.INTERRUPTED, Verdict((check,)))


def counted(statuses: Sequence[Status]) -> str:
    """ "1 fail, 12 pass"; worst first."""
    counts = Counter(statuses)
    return ", ".join(f"{counts[status]} {status.value}" for status in ORDER if counts[status]) or "no cells"


def failing(record: Record) -> tuple[Check, ...]:
    """The checks that did not hold, the worst first."""
    bad = [check for check in record.verdict.checks if check.status not in (Status.PASS, Status.SKIP)]
    return tuple(sorted(bad, key=lambda check: -check.status.severity))


def took_s(record: Record) -> float:
    return sum(record.durations_s.values())


def duration(seconds: float) -> str:
    """ "4.2 s" or "3 min 05 s"."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"
