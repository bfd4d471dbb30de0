# SPDX-License-Identifier: GPL-2.0-only
"""Whether the guest's kernel complained: its console read whole, known complaints set apart.

A known splat has an entry in configs/allowed-splats.toml with a reason and a day on
which it expires, so that none drowns what is new, and none is forgotten.
"""

from __future__ import annotations

import datetime
import fnmatch
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from toolkit import declare, places
from toolkit.rig.splats import Kind, Report, find_reports


@dataclass(frozen=True)
class Allowed:
    """A splat that is known: `fingerprint` is a glob over Report.fingerprint.

    `kernel` is the beginning of the releases that have it ("6.1", "6.1.192"), empty for
    all.  It counts again from the day `expires` on.
    """

    fingerprint: str
    reason: str
    expires: datetime.date
    kernel: str = ""

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError("a splat that is allowed needs a reason")

    def covers(self, report: Report, release: str, today: datetime.date) -> bool:
        """Whether this entry excuses the report; it never excuses what ended the guest."""
        of_kernel = not self.kernel or release == self.kernel or release.startswith(f"{self.kernel}.")
        return (
            not report.kind.fatal
            and today < self.expires
            and of_kernel
            and fnmatch.fnmatchcase(report.fingerprint, self.fingerprint)
        )


@dataclass(frozen=True)
class AllowedSplats:
    """The file configs/allowed-splats.toml: a [[splat]] each."""

    name: str
    splat: tuple[Allowed, ...] = ()


@dataclass(frozen=True)
class Health:
    """What the kernel said, in the order of the console.

    `unexpected` speak against the kernel; `slow` are lockups and stalls, for which a busy
    host is the likelier cause; `allowed` are known, each with the entry that says why.
    """

    unexpected: tuple[Report, ...]
    slow: tuple[Report, ...]
    allowed: tuple[tuple[Report, Allowed], ...]

    @property
    def fatal(self) -> tuple[Report, ...]:
        """Those that ended the guest."""
        return tuple(report for report in self.unexpected if report.kind.fatal)

    @property
    def hung(self) -> tuple[Report, ...]:
        return tuple(report for report in self.unexpected if report.kind is Kind.HUNG)

    @property
    def fingerprints(self) -> frozenset[str]:
        """Of all that is not allowed."""
        return frozenset(report.fingerprint for report in (*self.unexpected, *self.slow))

    def new(self, baseline: Collection[str]) -> tuple[Report, ...]:
        """Those unexpected that a run of the unpatched kernel (its fingerprints) did not have."""
        return tuple(report for report in self.unexpected if report.fingerprint not in baseline)


def allowed_file() -> Path:
    return places.declared("configs") / "allowed-splats.toml"


def load_allowed(path: Path | None = None) -> tuple[Allowed, ...]:
    """The splats that are known; DeclarationError if the file is malformed."""
    return declare.load(AllowedSplats, path or allowed_file()).splat


def examine(console: str, allowed: Iterable[Allowed], *, release: str, today: datetime.date) -> Health:
    """What the console of a kernel of this release says of its health on that day."""
    entries = tuple(allowed)
    unexpected: list[Report] = []
    slow: list[Report] = []
    excused: list[tuple[Report, Allowed]] = []
    for report in find_reports(console):
        entry = next((entry for entry in entries if entry.covers(report, release, today)), None)
        if entry is not None:
            excused.append((report, entry))
        elif report.kind is Kind.SLOW_HOST:
            slow.append(report)
        else:
            unexpected.append(report)
    return Health(tuple(unexpected), tuple(slow), tuple(excused))


def expired(allowed: Iterable[Allowed], today: datetime.date) -> tuple[Allowed, ...]:
    """The entries whose day has come: to be removed, or looked at again."""
    return tuple(entry for entry in allowed if today >= entry.expires)
