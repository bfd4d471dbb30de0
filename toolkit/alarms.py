# SPDX-License-Identifier: GPL-2.0-only
"""Good kernels run again and again: how often the suite complains of them, which it must not.

What each run came to is kept at once, so that a campaign that was interrupted goes on where
it was.  Evidence stays of those runs only in which the suite complained.
"""

from __future__ import annotations

import datetime
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit import pipeline, saved
from toolkit.archive import Archive
from toolkit.deadline import Deadline
from toolkit.progress import Progress
from toolkit.record import Outcome
from toolkit.verdict import Status

SCHEMA = 1


@dataclass(frozen=True)
class Turn:
    """One run of a suite on one kernel with one seed.

    cells: guests; skipped: those that the kernel had not what they need for; checks: that were
    evaluated, of them `floors` that say that something was exercised; alarms: what did not
    pass, as "workload: check: summary"; machine_s: the seconds that its guests ran.
    """

    version: str
    tree_id: str
    series: str
    arch: str
    config: str
    suite: str
    seed: int
    cells: int
    skipped: int
    checks: int
    floors: int
    alarms: tuple[str, ...]
    run: str
    machine_s: float
    when: str

    @property
    def of(self) -> tuple[str, str, str, str, str, int]:
        """What tells it from others."""
        return self.tree_id, self.series, self.arch, self.config, self.suite, self.seed


@dataclass(frozen=True)
class Turns:
    """All that a campaign ran, in a file."""

    turns: tuple[Turn, ...] = ()
    schema: int = SCHEMA


@dataclass(frozen=True)
class Group:
    """The turns of one kernel on one architecture, in numbers; `fewest` is the fewest checks of any."""

    version: str
    series: str
    arch: str
    config: str
    suite: str
    turns: int
    cells: int
    fewest: int
    machine_s: float
    alarms: tuple[str, ...]

    @property
    def status(self) -> Status:
        return Status.FAIL if self.alarms else Status.PASS


def load(path: Path) -> Turns:
    """What was run before, nothing if the file is not there."""
    return saved.read(Turns, path) if path.exists() else Turns()


def run(
    path: Path,
    archive: Archive,
    *,
    kernel: str,
    series: Sequence[str],
    archs: Sequence[str],
    config: str,
    suite: str,
    seeds: Iterable[int],
    seconds: float,
    jobs: int,
    progress: Progress,
) -> Turns:
    """Run the suite with each seed on each kernel, for so many seconds, and keep each turn in `path`."""
    trees = pipeline.patched_all(((kernel, name) for name in series), progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = Deadline.after(seconds)
    for seed, name, arch in itertools.product(seeds, series, archs):
        if deadline.passed:
            break
        known = {turn.of for turn in load(path).turns}
        tree_id = trees[kernel, name].tree_id
        if (tree_id, name, arch, config, suite, seed) in known:
            continue
        cells = pipeline.plan(
            kernels=[kernel],
            series=[name],
            archs=[arch],
            config=config,
            workloads=[suite],
            seed=seed,
            repeat=1,
        )
        argv = ["pageless", "alarms", "--seeds", str(seed)]
        kept_run, outcome = pipeline.execute(
            archive, cells, argv=argv, jobs=jobs, clone=True, progress=progress, simulated=False
        )
        turn = Turn(
            trees[kernel, name].version, tree_id, name, arch, config, suite, seed,
            **counted(outcome), run=kept_run.id,
            when=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )  # fmt: skip
        saved.write(path, Turns((*load(path).turns, turn)))
        if not turn.alarms:
            archive.forget(kept_run)
    return load(path)


def counted(outcome: Outcome) -> dict[str, Any]:
    """The numbers of a Turn."""
    checks = [check for record in outcome.cells for check in record.verdict.checks]
    checks = [check for check in (*checks, *outcome.across) if check.status is not Status.SKIP]
    alarms = [
        f"{record.cell.workload}: {check.name}: {check.summary}"
        for record in outcome.cells
        for check in record.verdict.decisive
    ]
    alarms += [f"{c.name}: {c.summary}" for c in outcome.across if c.status not in (Status.PASS, Status.SKIP)]
    return {
        "cells": len(outcome.cells),
        "skipped": sum(record.status is Status.SKIP for record in outcome.cells),
        "checks": len(checks),
        "floors": sum(check.name.startswith("floor/") for check in checks),
        "alarms": tuple(alarms),
        "machine_s": round(sum(sum(record.durations_s.values()) for record in outcome.cells), 1),
    }


def groups(turns: Turns) -> Iterator[Group]:
    """The turns by kernel, architecture, configuration and suite."""
    kinds: dict[tuple[str, str, str, str, str], list[Turn]] = defaultdict(list)
    for turn in turns.turns:
        kinds[turn.version, turn.series, turn.arch, turn.config, turn.suite].append(turn)
    for (version, series, arch, config, suite), some in sorted(kinds.items()):
        yield Group(
            version, series, arch, config, suite,
            turns=len(some),
            cells=sum(turn.cells - turn.skipped for turn in some),
            fewest=min(turn.checks for turn in some),
            machine_s=round(sum(turn.machine_s for turn in some), 1),
            alarms=tuple(f"seed {turn.seed}: {alarm}" for turn in some for alarm in turn.alarms),
        )  # fmt: skip
