# SPDX-License-Identifier: GPL-2.0-only
"""Checks and what they add up to: the worst one counts, and none at all is an error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Status(Enum):
    """The state of a check or a verdict, from better to worse in the order given here.

    An ERROR says that nothing can be said (trouble of the rig, or a workload that
    exercised nothing), so a failure that was really seen outranks it.
    """

    SKIP = "skip"
    PASS = "pass"
    ERROR = "error"
    FAIL = "fail"
    CRASH = "crash"

    @property
    def severity(self) -> int:
        """Larger is worse."""
        return list(Status).index(self)

    @property
    def exit_status(self) -> int:
        """As `git bisect run` reads it: 125 cannot test, 1 bad, 3 crashed or hung."""
        return {Status.PASS: 0, Status.SKIP: 0, Status.ERROR: 125, Status.FAIL: 1, Status.CRASH: 3}[self]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    `name` is stable over runs ("model/classes", "health", "content/..."); `expected`
    and `seen` are shown side by side; `because` says why that was expected.
    """

    name: str
    status: Status
    summary: str
    expected: str = ""
    seen: str = ""
    because: str = ""


@dataclass(frozen=True)
class Verdict:
    """All checks of one cell."""

    checks: tuple[Check, ...]

    @property
    def status(self) -> Status:
        """The worst check's; ERROR if nothing was checked, SKIP only if all were skipped."""
        return worst(check.status for check in self.checks)

    @property
    def decisive(self) -> tuple[Check, ...]:
        """The checks that decided it; none if it passed."""
        if self.status in (Status.SKIP, Status.PASS):
            return ()
        return tuple(check for check in self.checks if check.status is self.status)


def worst(statuses: Iterable[Status]) -> Status:
    """The status of several together; ERROR if there are none."""
    return max(statuses, key=lambda status: status.severity, default=Status.ERROR)
