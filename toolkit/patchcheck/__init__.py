# SPDX-License-Identifier: GPL-2.0-only
"""Build, look through, boot and compare every patch of a series, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolkit import comparison, metrics, pipeline, saved
from toolkit.archive import Archive
from toolkit.errors import BuildError, InputError
from toolkit.kernel import arch as arches
from toolkit.kernel import bloat, build, series
from toolkit.kernel.arch import Arch
from toolkit.kernel.bloat import Growth
from toolkit.kernel.build import Diagnostic
from toolkit.kernel.series import Patch
from toolkit.kernel.source import Tree
from toolkit.metrics import Moved
from toolkit.pipeline import Target
from toolkit.progress import Progress
from toolkit.record import Outcome, Record, Run
from toolkit.verdict import Check, Status, worst

SCHEMA = 1
FILE = "patchcheck.json"


@dataclass(frozen=True)
class Step:
    """What one patch came to on one architecture.

    `trouble` says why there is no kernel, else it is empty.  `new_warnings` are those that a file
    which the patch touches did not give before it, with W=1; `unexamined` the C files of the patch
    that do not compile alone, before and after it.  `suite` has the verdict of each cell; `growth`
    is None without a kernel to compare.  `moved` has, by workload, the metrics that this patch
    moved, None for a workload with too few repeats.
    """

    number: int
    patch: str
    subject: str
    arch: str
    trouble: str
    new_warnings: tuple[str, ...]
    unexamined: tuple[str, ...]
    suite: tuple[Status, ...]
    growth: Growth | None
    moved: Mapping[str, tuple[Moved, ...] | None]

    @property
    def status(self) -> Status:
        if self.trouble or self.new_warnings:
            return worst((Status.FAIL, *self.suite))
        return worst(self.suite)


@dataclass(frozen=True)
class Patchcheck:
    """All steps, those of one patch together; `baseline` has the suite's verdicts before the first.

    `across` are the checks between steps and architectures, and of the sources alone, that did not hold.
    """

    series: str
    version: str
    baseline: Mapping[str, tuple[Status, ...]]
    steps: tuple[Step, ...]
    across: tuple[Check, ...] = ()
    schema: int = SCHEMA

    @property
    def status(self) -> Status:
        checks = (check.status for check in self.across)
        return worst([*(step.status for step in self.steps), *map(worst, self.baseline.values()), *checks])


@dataclass(frozen=True)
class _Examined:
    """What the compiler said of a patch's files, before and after it."""

    new_warnings: tuple[str, ...] = ()
    unexamined: tuple[str, ...] = ()


def check(
    kept: Archive,
    *,
    kernel: str,
    name: str,
    archs: Sequence[str],
    config: str,
    workloads: Sequence[str],
    seed: int,
    repeat: int,
    numbers: tuple[int, int] | None,
    argv: Sequence[str],
    jobs: int,
    progress: Progress,
) -> tuple[Run, Outcome, Patchcheck]:
    """Check the patches `numbers` (the first and the last, counted from 1; None for all) of a series.

    Kernels are built patch by patch, each architecture for itself, so that a step costs what the
    patch changes; whatever was built before is found in the store.
    """
    tree = pipeline.fetch(kernel, progress)
    patches = series.load(name).patches(tree.line)
    first, last = numbers or (1, len(patches))
    if not patches:
        raise InputError(f"the series {name} has no patch to check")
    if not 1 <= first <= last <= len(patches):
        raise InputError(f"no patches {first} to {last}", hint=f"{name} has the patches 1 to {len(patches)}")
    names = {number: series.prefix(name, number) for number in range(first - 1, last + 1)}
    targets = {
        (arch, number): Target(kernel, one, arch, config) for arch in archs for number, one in names.items()
    }
    for target in targets.values():
        target.check()
    applied = pipeline.patched_all(((kernel, one) for one in names.values()), progress)
    trees = {number: applied[kernel, one] for number, one in names.items()}
    cells = pipeline.plan(
        kernels=[kernel],
        series=list(names.values()),
        archs=archs,
        config=config,
        workloads=workloads,
        seed=seed,
        repeat=repeat,
    )
    examined: dict[tuple[str, int], _Examined] = {}
    troubles: dict[tuple[str, int], str] = {}
    code: dict[tuple[str, int], Mapping[str, int]] = {}
    for (arch, number), target in targets.items():
        try:
            if number >= first:
                before = targets[arch, number - 1]
                patch = patches[number - 1]
                examined[arch, number] = _examine(
                    before, trees[number - 1], target, trees[number], patch, progress
                )
            with progress.step(f"build {target}") as say:
                kernel_built = pipeline.build_target(target, trees[number], say)
            code[arch, number] = bloat.functions(kernel_built, arches.load(arch))
        except BuildError as error:
            troubles[arch, number] = error.detail or error.message
    kept_run, outcome = pipeline.execute(kept, cells, argv=argv, jobs=jobs, clone=True, progress=progress)
    records = {
        (arch, number): tuple(r for r in outcome.cells if r.cell.arch == arch and r.cell.series == one)
        for arch in archs
        for number, one in names.items()
    }
    moved = {arch: _moved(kept_run, [records[arch, number] for number in names]) for arch in archs}
    steps = []
    for number in range(first, last + 1):
        for arch in archs:
            at, before_at = (arch, number), (arch, number - 1)
            sizes = (code.get(before_at), code.get(at))
            found = examined.get(at, _Examined())
            steps.append(
                Step(
                    number=number,
                    patch=patches[number - 1].name,
                    subject=patches[number - 1].subject,
                    arch=arch,
                    trouble=troubles.get(at, ""),
                    new_warnings=found.new_warnings,
                    unexamined=found.unexamined,
                    suite=tuple(record.status for record in records[at]),
                    growth=None if sizes[0] is None or sizes[1] is None else bloat.growth(*sizes),  # type: ignore[arg-type]
                    moved={workload: changes[number - first] for workload, changes in moved[arch].items()},
                )
            )
    result = Patchcheck(
        series=name,
        version=tree.version,
        baseline={arch: tuple(r.status for r in records[arch, first - 1]) for arch in archs},
        steps=tuple(steps),
        across=tuple(one for one in outcome.across if one.status not in (Status.PASS, Status.SKIP)),
    )
    saved.write(kept_run.directory / FILE, result)
    return kept_run, outcome, result


def _examine(
    before: Target, old: Tree, after: Target, new: Tree, patch: Patch, progress: Progress
) -> _Examined:
    """The new warnings in the C files of a patch."""
    arch = arches.load(after.arch)
    files = [file for file in patch.files if _is_examined(file, arch)]
    present = [
        [file for file in files if tree.repository.resolve(f"{tree.tree_id}:{file}") is not None]
        for tree in (old, new)
    ]
    said: list[tuple[Diagnostic, ...]] = []
    with progress.step(f"warnings {after}") as say:
        for target, tree, there in ((before, old, present[0]), (after, new, present[1])):
            config = pipeline.configured(target, tree, say)
            said.append(
                build.examine(tree, arch, config, there, progress=say, lane=pipeline.STEPS) if there else ()
            )
    return compare(said[0], said[1], patch.files)


def compare(before: Sequence[Diagnostic], after: Sequence[Diagnostic], touched: Sequence[str]) -> _Examined:
    """What is new in files that were touched; of one that compiled neither before nor after, nothing is."""
    broken = {one.file for one in before if one.kind == "error"} & {
        one.file for one in after if one.kind == "error"
    }
    new = Counter(one for one in after if one.file in touched and one.file not in broken)
    new.subtract(before)
    return _Examined(
        tuple(str(one) for one, count in sorted(new.items(), key=str) for _ in range(count)),
        tuple(sorted(broken)),
    )


def _is_examined(file: str, arch: Arch) -> bool:
    foreign = file.startswith("arch/") and not file.startswith(f"arch/{arch.source_arch}/")
    return file.endswith(".c") and not foreign and not file.startswith(("tools/", "scripts/", "samples/"))


def _moved(
    kept_run: Run, steps: Sequence[Sequence[Record]]
) -> dict[str, tuple[tuple[Moved, ...] | None, ...]]:
    """By workload, what moved from each step to the next."""
    workloads = dict.fromkeys(record.cell.workload for records in steps for record in records)
    found = {}
    for workload in workloads:
        measured = [
            [comparison.measure(kept_run, record) for record in records if record.cell.workload == workload]
            for records in steps
        ]
        found[workload] = metrics.moved([[one for one in repeats if one] for repeats in measured])
    return found
