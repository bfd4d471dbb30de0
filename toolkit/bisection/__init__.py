# SPDX-License-Identifier: GPL-2.0-only
"""Find the patch or commit that brought a trouble which not every run shows."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from toolkit import pipeline
from toolkit.archive import Archive
from toolkit.bisection.search import Search
from toolkit.errors import ConfigError, InputError
from toolkit.kernel import series, source
from toolkit.pipeline import Target
from toolkit.progress import Progress
from toolkit.record import Outcome, Record
from toolkit.report import summary
from toolkit.rig import splats
from toolkit.verdict import Check, Status, worst

Say = Callable[[str], None]

# A step whose runs say nothing so many times in a row is one that cannot be tested.
_SILENT_RUNS = 3
# What is searched is learned from so many failures of the last step, or what so many runs of it show.
_LEARNED_FROM, _LEARNING_RUNS = 3, 10


@dataclass(frozen=True)
class Step:
    """A point of the range: the kernel and the series to run, and what came last before it."""

    kernel: str
    series: str
    title: str


class Vote(Enum):
    """What one run of a step says."""

    GOOD = "good"
    BAD = "bad"
    FOREIGN = "foreign"  # it failed, but not with the trouble that is searched
    SILENT = "silent"  # it tells nothing: trouble of the rig, or a workload that exercised nothing


@dataclass
class Trouble:
    """How the searched trouble looks: by the names of checks, or as it was learned.

    `pattern` is matched with "check: summary" of each failed check, or, empty, `seen` are the
    signatures of the failed checks that are searched: one fault has many faces.
    """

    pattern: str = ""
    seen: set[str] = field(default_factory=set)

    def vote(self, records: Sequence[Record], *, learn: bool = False) -> Vote:
        """What one run, of one or more cells, says; to `learn` is to count any failure as the trouble."""
        failed = _failed(records)
        if not failed:
            passed = records and worst(record.status for record in records) is Status.PASS
            return Vote.GOOD if passed else Vote.SILENT
        if self.pattern:
            told = [f"{check.name}: {check.summary}" for check in failed]
            return Vote.BAD if any(fnmatch.fnmatchcase(one, self.pattern) for one in told) else Vote.FOREIGN
        found = signatures(failed)
        if learn or not self.seen:
            self.seen |= found
        return Vote.BAD if found & self.seen else Vote.FOREIGN

    def unlearn(self, records: Sequence[Record]) -> None:
        """What a good step shows is not the trouble, unless nothing else is."""
        self.seen = self.seen - signatures(_failed(records)) or self.seen


def _failed(records: Sequence[Record]) -> list[Check]:
    """The checks by which the kernel, and not the rig, failed."""
    bad = (Status.FAIL, Status.CRASH)
    return [check for record in records for check in summary.failing(record) if check.status in bad]


def signatures(failed: Sequence[Check]) -> set[str]:
    """What tells one trouble from another: the kernel's complaints by their top frames, else the kind
    of check ("model", "content").
    """
    found = set()
    for check in failed:
        if check.name == "health":
            reports = splats.find_reports(check.seen)
            found |= {report.fingerprint for report in reports} or {check.summary}
    # How a guest ended says nothing beside the reason that its kernel gave.
    kinds = {check.name.partition("/")[0] for check in failed} - {"health"}
    if found:
        kinds.discard("ending")
    return found | kinds


@dataclass(frozen=True)
class Found:
    """What a bisection came to: the hypotheses that are left, the likeliest first, with their probability.

    `rate` is how often a run notices the trouble; `foreign` are the troubles set apart.
    """

    steps: tuple[Step, ...]
    suspects: tuple[tuple[str, float], ...]
    certain: bool
    rate: float
    runs: int
    signatures: tuple[str, ...]
    foreign: tuple[str, ...]
    untestable: tuple[str, ...]


def steps_of(target: str, kernel: str, progress: Progress) -> tuple[Step, ...]:
    """The steps of a series on a kernel, or of a range of a git tree: TREE@GOOD..BAD."""
    path, _, commits = target.rpartition("@")
    if path and ".." in commits:
        good, commits_between = source.commits(Path(path).expanduser(), commits)
        first = Step(f"{path}@{good}", series.BASELINE, f"{good[:12]}, before the range")
        return (
            first,
            *(Step(f"{path}@{commit}", series.BASELINE, title) for commit, title in commits_between),
        )
    tree = pipeline.fetch(kernel, progress)
    patches = series.load(target).patches(tree.line)
    if not patches:
        raise InputError(f"the series {target} has no patch to search")
    before = Step(kernel, series.prefix(target, 0), "before the series")
    return (
        before,
        *(
            Step(kernel, series.prefix(target, number), f"{patch.name}: {patch.subject}")
            for number, patch in enumerate(patches, 1)
        ),
    )


# A run of a step: its number, and what became of its cells; nothing, if it could not be configured.
Run = tuple[int, Sequence[Record]]


def weighed(last: int, runs: Sequence[Run], trouble: Trouble) -> Search:
    """What the runs of steps 0 to `last`, in their order, say of that trouble."""
    search = Search(last)
    silent: Counter[int] = Counter()
    for number, records in runs:
        vote = trouble.vote(records)
        if vote in (Vote.GOOD, Vote.BAD):
            search.saw(number, vote is Vote.BAD)
            silent[number] = 0
            continue
        silent[number] += 1
        if all(record.built is None for record in records) or silent[number] >= _SILENT_RUNS:
            search.cannot_test(number)
    return search


def bisect(
    kept: Archive,
    steps: Sequence[Step],
    *,
    arch: str,
    config: str,
    workloads: Sequence[str],
    trouble: Trouble,
    confidence: float,
    limit: int,
    seed: int,
    jobs: int,
    argv: Sequence[str],
    progress: Progress,
) -> Found:
    """Run steps until one is the first bad one with that confidence, or after `limit` runs.

    Every run has a seed of its own: what depends on the seed is found as well.  How the trouble
    looks, if nobody said so, is learned from the last step, where it should be; what the step
    before the range shows as well is not it.
    """
    runs: list[Run] = []
    search = Search(len(steps) - 1)

    def learning() -> bool:
        if trouble.pattern or search.last in search.untestable:
            return False
        bad, good = search.bad[search.last], search.good[search.last]
        return bad < _LEARNED_FROM and bad + good < _LEARNING_RUNS

    while len(runs) < limit and (learning() or search.beliefs().max() < confidence):
        learn = learning()
        number = search.last if learn else search.next()
        if number is None:
            break
        step = steps[number]
        with progress.step(f"run {len(runs) + 1}: {step.title}") as say:
            outcome = _run(
                kept,
                step,
                arch,
                config,
                workloads,
                seed + len(runs),
                jobs=jobs,
                argv=argv,
                progress=progress,
            )
            records = () if outcome is None else outcome.cells
            say(trouble.vote(records, learn=learn).value)
        if number == 0:
            trouble.unlearn(records)
        runs.append((number, records))
        search = weighed(search.last, runs, trouble)
    foreign = [signatures(_failed(seen)) for _, seen in runs if trouble.vote(seen) is Vote.FOREIGN]
    beliefs = search.beliefs()
    titles = [f"{steps[0].title}: it was bad already", *(step.title for step in steps[1:]), "none: never bad"]
    order = sorted(range(len(titles)), key=lambda number: -beliefs[number])
    return Found(
        steps=tuple(steps),
        suspects=tuple((titles[n], float(beliefs[n])) for n in order if beliefs[n] >= 0.01),
        certain=bool(beliefs.max() >= confidence),
        rate=search.rate,
        runs=len(runs),
        signatures=(trouble.pattern,) if trouble.pattern else tuple(sorted(trouble.seen)),
        foreign=tuple(dict.fromkeys(one for found in foreign for one in sorted(found))),
        untestable=tuple(steps[n].title for n in sorted(search.untestable)),
    )


def vote(
    kept: Archive,
    step: Step,
    *,
    arch: str,
    config: str,
    workloads: Sequence[str],
    trouble: Trouble,
    runs: int,
    seed: int,
    jobs: int,
    argv: Sequence[str],
    progress: Progress,
) -> Vote:
    """What up to `runs` runs of one step say together: bad with the first that is, good if all are.

    Runs that failed otherwise count for nothing; without any that counts, nothing is said.
    """
    votes = []
    for turn in range(runs):
        outcome = _run(
            kept, step, arch, config, workloads, seed + turn, jobs=jobs, argv=argv, progress=progress
        )
        if outcome is None:
            return Vote.SILENT
        votes.append(trouble.vote(outcome.cells))
        if votes[-1] is Vote.BAD or all(record.built is None for record in outcome.cells):
            break
    for decisive in (Vote.BAD, Vote.GOOD, Vote.FOREIGN):
        if decisive in votes:
            return decisive
    return Vote.SILENT


def _run(
    kept: Archive,
    step: Step,
    arch: str,
    config: str,
    workloads: Sequence[str],
    seed: int,
    *,
    jobs: int,
    argv: Sequence[str],
    progress: Progress,
) -> Outcome | None:
    """One run of a step; None if its kernel cannot be configured."""
    Target(step.kernel, step.series, arch, config).check()
    cells = pipeline.plan(
        kernels=[step.kernel],
        series=[step.series],
        archs=[arch],
        config=config,
        workloads=workloads,
        seed=seed,
        repeat=1,
    )
    try:
        _, outcome = pipeline.execute(
            kept, cells, argv=argv, jobs=jobs, clone=True, progress=progress, simulated=False
        )
    except ConfigError:
        return None
    return outcome
