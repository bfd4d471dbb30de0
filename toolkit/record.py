# SPDX-License-Identifier: GPL-2.0-only
"""What is kept of a run: its cells, each one's record, and the checks across cells."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from toolkit import saved
from toolkit.evidence import Ending, Evidence
from toolkit.verdict import Check, Status, Verdict, worst

SCHEMA = 1


@dataclass(frozen=True)
class Cell:
    """One point of the product that a run goes over.

    `repeat` counts from 0.  `kernel` and `series` are names or paths, as the user gave them.
    """

    kernel: str
    series: str
    arch: str
    config: str
    workload: str
    seed: int
    repeat: int

    @property
    def label(self) -> str:
        repeat = f" #{self.repeat}" if self.repeat else ""
        return (
            f"{self.kernel} {self.series} {self.arch} {self.config} {self.workload} seed {self.seed}{repeat}"
        )

    @property
    def slug(self) -> str:
        """A directory's name for it."""
        parts = [
            self.kernel,
            self.series,
            self.arch,
            self.config,
            self.workload,
            str(self.seed),
            str(self.repeat),
        ]
        return ".".join(re.sub(r"[^A-Za-z0-9_+-]+", "-", part).strip("-") or "-" for part in parts)

    @property
    def command(self) -> str:
        """The pasteable command that runs this cell again."""
        return (
            f"pageless run --kernel {self.kernel} --series {self.series} --arch {self.arch}"
            f" --config {self.config} --workload {self.workload} --seed {self.seed}"
        )


@dataclass(frozen=True)
class Built:
    """The kernel a cell ran on: version ("6.1.192"), tree id after applying, key in the store, uname -r."""

    version: str
    package_version: str
    tree_id: str
    key: str
    release: str


@dataclass(frozen=True)
class Record:
    """What became of one cell.  `durations_s` are seconds by phase, `detail` the kernel's own words."""

    cell: Cell
    ending: Ending
    verdict: Verdict
    trouble: str = ""
    detail: str = ""
    built: Built | None = None
    accelerator: str = ""
    durations_s: Mapping[str, float] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def status(self) -> Status:
        return self.verdict.status


@dataclass(frozen=True)
class Plan:
    """What a run set out to do.  `argv` is the user's command line, `started` UTC in ISO 8601."""

    id: str
    started: str
    argv: tuple[str, ...]
    cells: tuple[Cell, ...]
    schema: int = SCHEMA


@dataclass(frozen=True)
class Outcome:
    """What a run came to: the worst of its cells, of the checks across them, and of those of the sources."""

    id: str
    status: Status
    exit_status: int
    across: tuple[Check, ...]
    cells: tuple[Record, ...]
    schema: int = SCHEMA


@dataclass(frozen=True)
class Sources:
    """What was checked of the sources of a run, before a guest ran them."""

    checks: tuple[Check, ...]
    schema: int = SCHEMA


@dataclass(frozen=True)
class Run:
    """The directory of a run; every path is derived from it.

    ::

        run.json                the Plan
        build/*.log             what the builds said
        cells/SLUG/record.json  a Record, beside the cell's evidence
        sources.json            the Sources' checks
        verdict.json            the Outcome
        junit.xml report.html   for machines and people
    """

    directory: Path

    @property
    def id(self) -> str:
        return self.directory.name

    @property
    def plan_file(self) -> Path:
        return self.directory / "run.json"

    @property
    def verdict_file(self) -> Path:
        return self.directory / "verdict.json"

    @property
    def sources_file(self) -> Path:
        return self.directory / "sources.json"

    @property
    def junit_file(self) -> Path:
        return self.directory / "junit.xml"

    @property
    def html_file(self) -> Path:
        return self.directory / "report.html"

    def cell_directory(self, cell: Cell) -> Path:
        return self.directory / "cells" / cell.slug

    def evidence(self, cell: Cell) -> Evidence:
        return Evidence(self.cell_directory(cell))

    def record_file(self, cell: Cell) -> Path:
        return self.cell_directory(cell) / "record.json"

    def plan(self) -> Plan:
        return saved.read(Plan, self.plan_file)

    def sources(self) -> Sources:
        return saved.read(Sources, self.sources_file)

    def outcome(self) -> Outcome:
        return saved.read(Outcome, self.verdict_file)

    def records(self) -> tuple[Record, ...]:
        """The records of the cells that ended, in the plan's order."""
        files = (self.record_file(cell) for cell in self.plan().cells)
        return tuple(saved.read(Record, file) for file in files if file.exists())


def conclude(plan: Plan, records: tuple[Record, ...], across: tuple[Check, ...]) -> Outcome:
    """What a run came to; cells of the plan without a record make it an ERROR at best."""
    statuses = [record.status for record in records] + [check.status for check in across]
    if len(records) < len(plan.cells):
        statuses.append(Status.ERROR)
    status = worst(statuses)
    return Outcome(id=plan.id, status=status, exit_status=status.exit_status, across=across, cells=records)
