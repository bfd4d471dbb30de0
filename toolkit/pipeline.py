# SPDX-License-Identifier: GPL-2.0-only
"""The one path: plan, fetch, apply, configure, build, template, clone, exercise, judge, keep, report."""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
import functools
import io
import logging
import os
import random
import shutil
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from toolkit import judge, run, saved
from toolkit.archive import Archive
from toolkit.collect import ftrace, health, stackdepot
from toolkit.collect.samples import Sampler
from toolkit.crew import Cluster, Lent
from toolkit.deadline import Deadline
from toolkit.errors import (
    BootError,
    BootTimeoutError,
    CommandError,
    CrashError,
    GuestError,
    HangError,
    HostError,
    InputError,
    PagelessError,
    QemuError,
    UnreachedError,
)
from toolkit.evidence import BASELINE, END, Ending, Evidence, Facts, Followed
from toolkit.inspection import live
from toolkit.inspection.inspection import Inspection
from toolkit.inspection.live import Eye
from toolkit.kernel import arch as arches
from toolkit.kernel import build, git, kconfig, pageless, series, source
from toolkit.kernel.arch import Arch
from toolkit.kernel.build import BuiltKernel
from toolkit.kernel.internals import Internals
from toolkit.kernel.pageless import Touch
from toolkit.kernel.source import Tree
from toolkit.kernel.symbols import Compiled, Symbols
from toolkit.model.geometry import Geometry, geometry
from toolkit.plans import Matrix
from toolkit.progress import Progress, Say
from toolkit.record import Built, Cell, Outcome, Record, Run, Sources, conclude
from toolkit.report import html, junit
from toolkit.rig import counting, image, machine, template
from toolkit.rig import recording as recordings
from toolkit.rig.accelerator import Accelerator, accelerator
from toolkit.rig.counting import Cost
from toolkit.rig.machine import Machine
from toolkit.rig.qemu import Setup
from toolkit.rig.qemu_guest import QemuGuest, boot
from toolkit.rig.recording import Failure, Recording, Schedule, Step, Transcript
from toolkit.store import default_store
from toolkit.userspace import sim, together
from toolkit.userspace.build import Program, compile_tree, directory_reader, tree_reader
from toolkit.userspace.follow import follow
from toolkit.userspace.sim import Difference, Simulation
from toolkit.userspace.together import Exploration
from toolkit.verdict import Check, Status
from toolkit.workload import Workload, catalogue, memory
from toolkit.workload.programs import page_bytes

logger = logging.getLogger(__name__)

# Fetching packages and compiling the guest's programs, the first time.
IMAGE_S = 900.0

# How cells ended that a resumed run tries again: the kernel had no chance.
_TRY_AGAIN = (Ending.INTERRUPTED, Ending.UNBUILT, Ending.LOST)

# How many times as long a workload may take on kernels that watch what they do, for a busy host.
_PATIENCE = {"KASAN": 4, "KCSAN": 4, "PROVE_LOCKING": 2}

# The lane in which the kernels of a series' first patches are built, one after another.
STEPS = "steps"

# A quick look at each tree's zsmalloc in user space: requests, and the pages that it is made for.
SIM_OPERATIONS = 40_000
SIM_PAGE_SIZES = (4096, 65536)
# Cases of several CPUs at once: most races that these find, they find in the first hundred.
SIM_CASES = 300
_SIM_S = 300.0
# Of a difference, only what is found at once is left out.
_SHRINK_S = 5.0

# A trace in user space: seconds, on a busy host.
_FOLLOW_S = 300.0

# A guest whose every block of instructions is looked at, on a busy host.
COUNT_S = 900.0

# Machines say how long a boot takes on an idle host; this one may be busy.
SLOW_HOST = 5.0


def plan(
    *,
    kernels: Sequence[str],
    series: Sequence[str],
    archs: Sequence[str],
    config: str,
    workloads: Sequence[str],
    seed: int,
    repeat: int,
) -> tuple[Cell, ...]:
    """Every cell of the product; the names of workloads may be suites."""
    names: dict[str, None] = {}
    for wanted in workloads:
        names.update(dict.fromkeys(w.name for w in catalogue.select(wanted)))
    return tuple(
        Cell(kernel, one, arch, config, name, seed, turn)
        for kernel in dict.fromkeys(kernels)
        for arch in dict.fromkeys(archs)
        for one in dict.fromkeys(series)
        for name in names
        for turn in range(repeat)
    )


def plan_of(matrix: Matrix, archs: Sequence[str]) -> tuple[Cell, ...]:
    """The cells of a declared plan, on `archs` where it leaves them open."""
    return tuple(
        cell
        for config in matrix.configs
        for seed in matrix.seeds
        for cell in plan(
            kernels=matrix.kernels,
            series=matrix.series,
            archs=matrix.archs or archs,
            config=config,
            workloads=matrix.workloads,
            seed=seed,
            repeat=matrix.repeat,
        )
    )


@dataclass(frozen=True)
class Target:
    """What is built: everything about a cell but what runs on it."""

    kernel: str
    series: str
    arch: str
    config: str

    @classmethod
    def of(cls, cell: Cell) -> Target:
        return cls(cell.kernel, cell.series, cell.arch, cell.config)

    def __str__(self) -> str:
        return f"{self.kernel} {self.series} {self.arch} {self.config}"

    def check(self) -> None:
        """Refuse an unknown name (an InputError) before anything takes time."""
        source.load(self.kernel)
        series.load(self.series)
        kconfig.check_names(self.config, arches.load(self.arch))


def fetch(kernel: str, progress: Progress) -> Tree:
    with progress.step(f"fetch {kernel}") as say:
        return source.fetch(source.load(kernel), progress=say)


def patched(kernel: str, name: str, progress: Progress) -> Tree:
    """The kernel's tree with the series applied.

    TREE@base is the commit of that git tree which the series says it was made for.
    """
    return patched_all([(kernel, name)], progress)[kernel, name]


def patched_all(wanted: Iterable[tuple[str, str]], progress: Progress) -> Mapping[tuple[str, str], Tree]:
    """The trees of several kernels with their series, by the names of both; each kernel is fetched once."""
    fetched: dict[str, Tree] = {}
    trees: dict[tuple[str, str], Tree] = {}
    for kernel, name in dict.fromkeys(wanted):
        patches = series.load(name)
        revision = kernel
        if kernel.endswith("@base"):
            if not patches.base_commit:
                raise InputError(
                    f"the series {name} has no base-commit trailer", hint="give --kernel TREE@REV"
                )
            revision = kernel.removesuffix("base") + patches.base_commit
        if revision not in fetched:
            fetched[revision] = fetch(revision, progress)
        with progress.step(f"apply {name} to {revision}") as say:
            trees[kernel, name] = series.apply(fetched[revision], patches, progress=say)
    return trees


def build_target(target: Target, tree: Tree, say: Say) -> BuiltKernel:
    """The kernel of a target, from the store if it was ever built."""
    lane = STEPS if series.load(target.series).length is not None else ""
    config = configured(target, tree, say)
    return build.build(tree, arches.load(target.arch), config, progress=say, lane=lane)


def configured(target: Target, tree: Tree, say: Say) -> Path:
    """The final .config of a target."""
    arch = arches.load(target.arch)
    wanted = series.load(target.series)
    extra = kconfig.parse("\n".join(wanted.config), f"series {wanted.name}")
    asked = kconfig.compose(target.config, arch, tree.release, extra)
    return build.configure(tree, arch, asked, progress=say)


def internals(target: Target, tree: Tree, kernel: BuiltKernel, say: Say) -> Internals:
    """What workloads may need of a target's kernel; a line of its source, or modules, take a compiler."""
    arch = arches.load(target.arch)

    def compiled(file: str) -> Compiled:
        return build.with_lines(tree, arch, configured(target, tree, say), file, progress=say)

    def modules(sources: Path) -> Path:
        config = configured(target, tree, say)
        return build.modules(tree, arch, config, kernel, sources, progress=say)

    return Internals(Symbols(kernel.system_map, compiled), modules, series.load(target.series).variant)


def built(target: Target, progress: Progress) -> tuple[Tree, BuiltKernel]:
    """The patched tree of a target and its kernel."""
    target.check()
    tree = patched(target.kernel, target.series, progress)
    with progress.step(f"build {target}") as say:
        return tree, build_target(target, tree, say)


def lint(target: Target, progress: Progress) -> tuple[Tree, tuple[Touch, ...]]:
    """What the patched zsmalloc touches of struct page beyond what the series' variant allows."""
    target.check()
    wanted = series.load(target.series)
    if wanted.variant not in pageless.VARIANTS:
        known = ", ".join(sorted(pageless.VARIANTS))
        raise InputError(
            f"the series {wanted.name} declares no variant that can be checked",
            hint=f"variant, in its series.toml, is one of: {known}",
        )
    tree = patched(target.kernel, target.series, progress)
    return tree, _lint(target, tree, pageless.VARIANTS[wanted.variant], progress)


def _lint(target: Target, tree: Tree, variant: pageless.Variant, progress: Progress) -> tuple[Touch, ...]:
    arch = arches.load(target.arch)
    with progress.step(f"lint {target}") as say:
        config = configured(target, tree, say)
        text = build.preprocess(tree, arch, config, pageless.SOURCE, progress=say)
        return pageless.lint(text, arch.triplet, variant)


def _check_source(target: Target, tree: Tree, progress: Progress) -> Iterator[Check]:
    """Whether a series that says it is pageless is."""
    wanted = series.load(target.series)
    variant = pageless.VARIANTS.get(wanted.variant)
    if variant is None:
        return
    name = f"pageless/{target}"
    left = ", ".join(sorted(variant.fields | variant.flags))
    because = f"the variant {variant.name} leaves only {left} to zsmalloc"
    try:
        touched = [str(touch) for touch in _lint(target, tree, variant, progress)]
    except HostError as error:
        yield Check(name, Status.ERROR, error.message)
        return
    status = Status.FAIL if touched else Status.PASS
    summary = "; ".join(touched[: judge.SHOWN]) or f"{pageless.SOURCE} touches nothing else of struct page"
    yield Check(name, status, summary, "none" if touched else "", str(len(touched)), because)


def check_simulated(name: str, tree: Tree, *, seed: int, progress: Progress) -> Iterator[Check]:
    """Whether the tree's own zsmalloc, alone in user space, does what the model does.

    A tree that our shims do not fit is skipped: nothing is said against its kernel.
    """
    because = "the model follows every request that the tree's own code was given"
    at_once = "whatever CPUs do at once, nothing is lost, nothing is left, and no lock is forgotten"
    for page_size in SIM_PAGE_SIZES:
        deadline = Deadline.after(_SIM_S)
        check = f"sim/{name} {page_size >> 10}K"
        with progress.step(check):
            made = geometry(tree.version, page_size)
            try:
                program = _program(tree, page_size, made.chain_size, deadline)
            except HostError as error:
                yield Check(check, Status.SKIP, error.message)
                continue
            try:
                done = sim.simulate(
                    program, made, operations=SIM_OPERATIONS, seed=seed, deadline=deadline, shrink_s=_SHRINK_S
                )
                yield _said(check, done, because)
                # Locks are the same with pages of any size.
                if page_size == SIM_PAGE_SIZES[0]:
                    explored = together.explore(
                        program, made, cases=SIM_CASES, seed=seed, deadline=deadline, shrink_s=_SHRINK_S
                    )
                    yield _said(f"together/{name}", explored, at_once)
            except HostError as error:
                yield Check(check, Status.ERROR, error.message)


_programs: dict[tuple[str, int, int], Program] = {}


def _program(tree: Tree, page_size: int, chain_size: int, deadline: Deadline) -> Program:
    """The program of a tree's own mm/zsmalloc.c; it is looked up once, which takes as long as some tests."""
    key = (tree.tree_id, page_size, chain_size)
    if key not in _programs:
        _programs[key] = compile_tree(
            tree_reader(tree),
            page_size=page_size,
            chain_size=chain_size,
            cache=default_store(),
            deadline=deadline,
        )
    return _programs[key]


def _said(name: str, did: Simulation | Exploration, because: str) -> Check:
    """What came of requests in user space, as a check."""
    difference = did.difference
    if difference is not None:
        return Check(name, Status.FAIL, difference.what, difference.expected, difference.seen, because)
    if did.never_done:
        return Check(name, Status.ERROR, f"exercised nothing: never {', '.join(did.never_done)}")
    return Check(name, Status.PASS, f"{sum(did.done.values())} requests, none differs", because=because)


@dataclass(frozen=True)
class Simulated:
    """What a tree's own mm/zsmalloc.c (of that hash) did in user space.

    Beside the model, and, unless that differed, with several CPUs at once, if that was asked for.
    """

    sha256: str
    geometry: Geometry
    simulation: Simulation
    exploration: Exploration | None = None

    @property
    def difference(self) -> Difference | None:
        explored = None if self.exploration is None else self.exploration.difference
        return self.simulation.difference or explored

    @property
    def never_done(self) -> tuple[str, ...]:
        explored = () if self.exploration is None else self.exploration.never_done
        return (*self.simulation.never_done, *(f"{kind} at once" for kind in explored))

    @property
    def status(self) -> Status:
        """FAIL if they differ; ERROR if not all kinds of operations were done, which proves nothing."""
        if self.difference is not None:
            return Status.FAIL
        return Status.ERROR if self.never_done else Status.PASS

    def as_pytest(self) -> str:
        """A test that fails for as long as what was found is there."""
        found = self.simulation.difference
        if found is not None:
            return found.as_pytest(self.geometry)
        explored = self.exploration
        assert explored is not None
        assert explored.difference is not None
        assert explored.case is not None
        return explored.case.as_pytest(self.geometry, explored.difference.what)


def simulate(
    kernel: str,
    name: str,
    *,
    page_size: int,
    operations: int,
    cases: int,
    seed: int,
    deadline_s: float,
    progress: Progress,
    shrink_s: float = 60.0,
) -> Simulated:
    """Compile a tree's mm/zsmalloc.c for user space, run it beside the model, and then by several CPUs.

    A directory without a series is read as it is, so that an edit has its verdict at once.
    """
    deadline = Deadline.after(deadline_s)
    wanted = source.load(kernel)
    if name == series.BASELINE and wanted.path is not None and wanted.path.is_dir() and not wanted.revision:
        read = directory_reader(wanted.path)
        makefile = read("Makefile") or ""
        version = source.version_of(makefile, wanted.path)
    else:
        tree = patched(kernel, name, progress)
        read, version = tree_reader(tree), tree.version
    made = geometry(version, page_size)
    with progress.step("compile mm/zsmalloc.c for user space"):
        program = compile_tree(
            read, page_size=page_size, chain_size=made.chain_size, cache=default_store(), deadline=deadline
        )
    with progress.step(f"{operations} operations, seed {seed}"):
        simulation = sim.simulate(
            program, made, operations=operations, seed=seed, deadline=deadline, shrink_s=shrink_s
        )
    if not cases or simulation.difference is not None:
        return Simulated(program.source_sha256, made, simulation)
    with progress.step(f"{cases} cases of several CPUs at once, seed {seed}"):
        exploration = together.explore(
            program, made, cases=cases, seed=seed, deadline=deadline, shrink_s=shrink_s
        )
    return Simulated(program.source_sha256, made, simulation, exploration)


def inspect(kept: Archive, target: str, vmlinux: Path | None) -> Mapping[str, Inspection]:
    """What the memory held that `target` names: a core, a guest behind a QMP socket, or a run's of both."""
    kernels = (vmlinux,) if vmlinux is not None else tuple(
        kernel.vmlinux for kernel in build.stored() if live.inspectable(kernel.configuration)
    )  # fmt: skip
    path = Path(target)
    if path.is_socket():
        return {target: live.guest(path, kernels)}
    if path.is_file():
        return {target: live.core(path, kernels)}
    looks: dict[str, Inspection] = {}
    kept_run = kept.find(target)
    for record in kept_run.records():
        evidence = kept_run.evidence(record.cell)
        for name in evidence.facts().checkpoints:
            if evidence.inspection(name).exists():
                looks[f"{record.cell.label}, {name}"] = saved.read(Inspection, evidence.inspection(name))
        if evidence.core.exists():
            looks[f"{record.cell.label}, core"] = live.core(evidence.core, kernels)
    if not looks:
        raise InputError(
            f"no guest of run {kept_run.id} could be inspected", hint="pageless run --config inspect"
        )
    return looks


def export(tree: Tree, output: Path) -> None:
    """Write a tree's files into a new directory."""
    try:
        output.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{output}: {error.strerror}", hint="name a directory that does not exist") from None
    index = output.parent / f".{output.name}.index"
    try:
        git.Repository(tree.git_dir, index, output).git("read-tree", "--reset", "-u", tree.tree_id)
    finally:
        index.unlink(missing_ok=True)


def eye_on(guest: QemuGuest, kernel: BuiltKernel) -> Eye | None:
    """What inspects a guest's memory, None if its kernel is not made for that."""
    if guest.inspector is None:
        return None
    qmp = guest.qmp
    stopper = live.Stopper(lambda: qmp.execute("stop"), lambda: qmp.execute("cont"))
    return Eye(guest.inspector, (kernel.vmlinux,), stopper)


@contextlib.contextmanager
def started(
    kernel: BuiltKernel, arch: Arch, rig: Machine, directory: Path, *, clone: bool, say: Say
) -> Iterator[QemuGuest]:
    """A guest that answers by ssh: a clone of a booted one, or booted for real.

    What is kept of it (the console, QEMU's words, the core of an inspectable one that
    crashed) goes to `directory`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    say("guest image")
    initramfs = image.initramfs(arch, default_store(), deadline=Deadline.after(IMAGE_S))
    setup = Setup(
        arch,
        rig,
        accelerator(arch),
        kernel.image,
        initramfs,
        inspectable=live.inspectable(kernel.configuration),
    )
    deadline = Deadline.after(rig.boot_s * SLOW_HOST)
    with contextlib.ExitStack() as stack:
        # The private memory of a clone is a mapping of its template's file, in which QEMU 7.2 punches
        # a hole for whatever a balloon gives back (ram_block_discard_range()): for all clones.
        if clone and not rig.balloon:
            say("template")
            frozen = template.template(setup, deadline=deadline)
            with template.in_use(frozen):
                shutil.copyfile(frozen.console, Evidence(directory).boot_log)
            say("clone")
            yield stack.enter_context(template.clone(frozen, directory, deadline=deadline))
        else:
            say("boot")
            yield stack.enter_context(boot(setup, directory, deadline=deadline))


@dataclass
class GuestBench:
    """A Bench over a real guest: see toolkit.workload.Bench."""

    guest: QemuGuest
    seed: int
    deadline: Deadline
    evidence: Evidence
    recorder: ftrace.Recorder
    say: Say
    internals: Internals
    eye: Eye | None = None
    random: random.Random = field(init=False)
    checks: list[Check] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    checkpoints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        if self.eye is not None:
            self.evidence.inspection(BASELINE).parent.mkdir()

    def checkpoint(self, name: str) -> None:
        if name in self.checkpoints:
            raise InputError(
                f"the workload takes the checkpoint {name!r} twice", hint="give each its own name"
            )
        self.say(f"checkpoint {name}")
        with self.guest.unnoted():
            taken = self.recorder.checkpoint(self.guest, name, self.deadline)
            taken.save(self.evidence.checkpoint(name))
            if self.eye is not None:
                saved.write(self.evidence.inspection(name), self.eye.look())
        self.checkpoints.append(name)

    def drain(self) -> None:
        with self.guest.unnoted():
            self.recorder.drain(self.guest, self.deadline)

    def check(self, name: str, holds: bool, *, expected: object, seen: object, because: str) -> None:
        status = Status.PASS if holds else Status.FAIL
        summary = "as expected" if holds else f"expected {expected}, seen {seen}"
        self.checks.append(Check(name, status, summary, str(expected), str(seen), because))

    def count(self, counter: str, amount: int) -> None:
        self.counters[counter] += amount


def exercise(
    guest: QemuGuest,
    workload: Workload,
    seed: int,
    evidence: Evidence,
    internals: Internals,
    say: Say,
    *,
    eye: Eye | None = None,
) -> Facts:
    """Run a workload, traced and sampled, between a baseline and an end checkpoint.

    With an `eye`, the guest's memory is inspected at each checkpoint, and dumped if it hangs.
    Whatever the guest does, what became of it is told in the Facts, never raised;
    trouble of the host is raised.
    """
    deadline = Deadline.after(workload.deadline_s)
    recorder = ftrace.Recorder(evidence.trace)
    bench = GuestBench(guest, seed, deadline, evidence, recorder, say, internals.beside(deadline), eye)
    ending, trouble, detail = Ending.FINISHED, "", ""
    page_size = 0
    try:
        page_size = page_bytes(guest)
        with _noting(guest, evidence):
            if guest.machine.removable_mib:
                memory.add_removable(bench)
            with guest.unnoted():
                sampler = Sampler.start(guest, deadline)
                recorder.start(guest, deadline)
                _shrink_slabs(guest, deadline)
                stacks_before = stackdepot.pages(guest, internals.symbols)
                bench.checkpoint(BASELINE)
            say(workload.title)
            workload.exercise(bench)
        _shrink_slabs(guest, deadline)
        bench.checkpoint(END)
        stacks_after = stackdepot.pages(guest, internals.symbols)
        if stacks_before is not None and stacks_after is not None:
            bench.count("pages_kept", stacks_after - stacks_before)
        say("collecting the trace")
        evidence.dmesg.write_bytes(guest.execute("dmesg", deadline=deadline).stdout)
        recorder.stop(guest, deadline)
        sampler.stop(guest, deadline, evidence.samples)
    except UnreachedError as error:
        ending, trouble, detail = Ending.UNREACHED, error.message, error.detail
    except CommandError as error:
        ending, trouble, detail = Ending.FAILED, error.message, error.detail
    except CrashError as error:
        ending, trouble, detail = Ending.OOPS, error.message, error.detail
    except HangError as error:
        ending, trouble, detail = Ending.HUNG, error.message, error.detail
        if eye is not None and not evidence.core.exists():
            say("keeping its memory")
            with contextlib.suppress(QemuError):
                guest.dump()
    except GuestError as error:
        ending, trouble, detail = Ending.LOST, error.message, error.detail
    return replace(
        _untouched(workload),
        page_size=page_size,
        ending=ending,
        trouble=trouble,
        detail=detail,
        checkpoints=tuple(bench.checkpoints),
        counters=dict(bench.counters),
        checks=tuple(bench.checks),
    )


@contextlib.contextmanager
def _noting(guest: QemuGuest, evidence: Evidence) -> Iterator[None]:
    """Keep what is executed in the guest meanwhile: the script of a recording."""
    steps: list[Step] = []
    guest.note = lambda command, stdin, status: steps.append(Step(command, stdin, status))
    try:
        yield
    finally:
        guest.note = lambda *_: None
        saved.write(evidence.transcript, Transcript(tuple(steps)))


def _untouched(workload: Workload) -> Facts:
    """The facts of a workload that did not run."""
    return Facts(
        workload=workload.name,
        single_threaded=workload.single_threaded,
        floors=dict(workload.floors),
        release="",
        page_size=0,
        chain_size=None,
        ending=Ending.UNBUILT,
    )


def _shrink_slabs(guest: QemuGuest, deadline: Deadline) -> None:
    """Let SLUB give back what it keeps for later, so that slabinfo counts live objects only."""
    shrink = 'for f in /sys/kernel/slab/*zs*/shrink; do [ ! -e "$f" ] || echo 1 >"$f" || exit; done'
    guest.execute(shrink, deadline=deadline)


@dataclass(frozen=True)
class Prepared:
    """A target that was built, or what stopped it."""

    tree: Tree
    kernel: BuiltKernel | None
    trouble: PagelessError | None = None

    @property
    def built(self) -> Built | None:
        if self.kernel is None:
            return None
        tree = self.tree
        return Built(tree.version, tree.package_version, tree.tree_id, self.kernel.key, self.kernel.release)

    @functools.cached_property
    def configuration(self) -> Mapping[str, str]:
        """The values of the final .config, empty without a kernel."""
        return {} if self.kernel is None else self.kernel.configuration

    @property
    def chain_size(self) -> int | None:
        """The most pages a zspage may have, None where the kernel fixes it (before 6.3)."""
        chain = self.configuration.get("ZSMALLOC_CHAIN_SIZE")
        return None if chain is None else int(chain)

    def unfit(self, workload: Workload) -> str:
        """Why a workload cannot run on this kernel, empty if it can."""
        if workload.before is not None and self.tree.release >= workload.before:
            major, minor = workload.before
            return f"it is made for the code of kernels before {major}.{minor}"
        lacking = ", ".join(symbol for symbol in workload.needs if symbol not in self.configuration)
        return f"the kernel has no {lacking}" if lacking else ""


def default_jobs() -> int:
    """Guests at a time: each has two processors, and is judged by one of ours while the next one runs."""
    return max(2, (os.cpu_count() or 1) // 2)


def execute(
    kept: Archive,
    cells: Sequence[Cell],
    *,
    argv: Sequence[str],
    jobs: int,
    clone: bool,
    progress: Progress,
    resumed: Run | None = None,
    cluster: Cluster | None = None,
    simulated: bool = True,
) -> tuple[Run, Outcome]:
    """Run every cell, and keep what became of it.

    The user's input is checked for all cells before anything is built or kept; a
    kernel that does not build, and a guest that dies, end their own cells only.  Of a
    run that is `resumed`, what it has a record of is kept, but for trouble of the host.
    Guests run in threads here, `jobs` at a time, or on the workers of a `cluster`.
    `simulated` runs each tree's own mm/zsmalloc.c in user space as well.
    """
    workloads = {cell.workload: catalogue.load(cell.workload) for cell in cells}
    for workload in workloads.values():
        machine.load(workload.machine)
    targets = tuple(dict.fromkeys(map(Target.of, cells)))
    for target in targets:
        target.check()
    applied = patched_all(((target.kernel, target.series) for target in targets), progress)
    trees = {target: applied[target.kernel, target.series] for target in targets}
    kept_run = resumed or kept.begin(argv, cells)
    records = {record.cell: record for record in kept_run.records() if record.ending not in _TRY_AGAIN}
    left = in_order([cell for cell in cells if cell not in records], workloads)
    wanted = set(map(Target.of, left))

    def check_sources() -> Iterator[Check]:
        for target, tree in trees.items():
            yield from _check_source(target, tree, progress)

    def simulate_sources() -> Iterator[Check]:
        for (kernel, name), tree in applied.items():
            yield from check_simulated(f"{kernel} {name}", tree, seed=cells[0].seed, progress=progress)

    # What needs no guest goes on beside builds and guests.
    with _threads(1, "sources") as beside:
        looked = [beside.submit(lambda: list(simulate_sources()))] if simulated else []
        prepared = {
            target: _prepare(target, tree, progress) for target, tree in trees.items() if target in wanted
        }
        # This one may want the work tree of a build, and waits for all of them.
        looked.insert(0, beside.submit(lambda: list(check_sources())))
        records |= _exercise(
            kept_run, left, workloads, prepared, jobs=jobs, clone=clone, cluster=cluster, progress=progress
        )
        checks = tuple(check for part in looked for check in part.result())
    saved.write(kept_run.sources_file, Sources(checks))
    return kept_run, _conclude(kept, kept_run, [records[cell] for cell in cells])


def in_order(cells: Iterable[Cell], workloads: Mapping[str, Workload]) -> list[Cell]:
    """What may take longest first, but together whatever is cloned from one template.

    A few templates are kept, and to boot another takes as long as many a test.  So the first
    cell of each goes before the others of the one before it: nothing waits while it is booted.
    """
    by_template: dict[tuple[Target, str], list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: -workloads[cell.workload].deadline_s):
        by_template.setdefault((Target.of(cell), workloads[cell.workload].machine), []).append(cell)
    ordered: list[Cell] = []
    others: list[Cell] = []
    for first, *rest in by_template.values():
        ordered += [first, *others]
        others = rest
    return ordered + others


@contextlib.contextmanager
def _threads(number: int, name: str) -> Iterator[concurrent.futures.Executor]:
    """Threads that are waited for; when we are interrupted, the programs and guests in them end first."""
    executor = concurrent.futures.ThreadPoolExecutor(number, thread_name_prefix=name)
    try:
        yield executor
    except BaseException:
        run.end_all()
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _exercise(
    kept_run: Run,
    left: Sequence[Cell],
    workloads: Mapping[str, Workload],
    prepared: Mapping[Target, Prepared],
    *,
    jobs: int,
    clone: bool,
    cluster: Cluster | None,
    progress: Progress,
) -> dict[Cell, Record]:
    """Run those cells, here or on a cluster."""

    def work(cell: Cell) -> Record:
        return _cell(kept_run, cell, workloads[cell.workload], prepared[Target.of(cell)], clone, progress)

    if cluster is not None:
        found = _on_cluster(cluster, kept_run, left, workloads, prepared, clone, progress)
        return {record.cell: record for record in found}
    with _threads(jobs, "cell") as executor:
        return {record.cell: record for record in executor.map(work, left)}


def _prepare(target: Target, tree: Tree, progress: Progress) -> Prepared:
    try:
        with progress.step(f"build {target}") as say:
            return Prepared(tree, build_target(target, tree, say))
    except HostError as error:
        logger.warning("%s: %s", target, error.message)
        return Prepared(tree, None, error)


def _cell(
    kept_run: Run, cell: Cell, workload: Workload, prepared: Prepared, clone: bool, progress: Progress
) -> Record:
    """One cell from its guest to its record; trouble of the host is its own ending."""
    evidence = kept_run.evidence(cell)
    # An interrupted run leaves a part of it.
    shutil.rmtree(evidence.directory, ignore_errors=True)
    evidence.directory.mkdir(parents=True)
    with progress.step(f"run {cell.label}") as say:
        unfit = prepared.unfit(workload)
        if prepared.kernel is None:
            unbuilt = prepared.trouble
            assert unbuilt is not None
            facts = replace(
                _untouched(workload), ending=Ending.UNBUILT, trouble=unbuilt.message, detail=unbuilt.detail
            )
            durations: Mapping[str, float] = {}
        elif unfit:
            facts = replace(_untouched(workload), ending=Ending.SKIPPED, trouble=unfit)
            durations = {}
        else:
            known = internals(Target.of(cell), prepared.tree, prepared.kernel, say)
            facts, durations = _attempt(evidence, cell, workload, prepared.kernel, known, clone, say)
            trouble = _accident(facts, evidence, prepared.tree.version)
            if trouble and not run.interrupted():
                # Trouble of the host says nothing of the kernel; what comes again is no accident.
                lost = evidence.directory.with_name(f"{evidence.directory.name}.lost")
                logger.warning("%s: %s (see %s); it is run once more", cell.label, trouble, lost)
                shutil.rmtree(lost, ignore_errors=True)
                evidence.directory.rename(lost)
                evidence.directory.mkdir()
                facts, durations = _attempt(
                    evidence, cell, workload, prepared.kernel, known, clone, say, again=True
                )
        if evidence.core.exists() and prepared.kernel is not None:
            say("inspecting its core")
            _inspect_core(evidence, (prepared.kernel.vmlinux,))
        if run.interrupted():
            # What ended the guest was us: that is no record of the cell.
            raise KeyboardInterrupt
        say("judging")
        return _record(kept_run, cell, prepared, facts, durations)


def _accident(facts: Facts, evidence: Evidence, release: str) -> str:
    """What trouble of the host the guest met, if that is all that can be said of it; else empty."""
    if facts.ending is Ending.LOST:
        return facts.trouble
    if facts.ending is not Ending.FINISHED:
        return ""
    found = health.examine(
        evidence.console(),
        health.load_allowed(),
        release=release,
        today=datetime.datetime.now(datetime.UTC).date(),
    )
    if found.slow and not found.unexpected:
        return f"{found.slow[0].title} (a busy host is the likelier cause)"
    return ""


def _attempt(
    evidence: Evidence,
    cell: Cell,
    workload: Workload,
    kernel: BuiltKernel,
    known: Internals,
    clone: bool,
    say: Say,
    *,
    again: bool = False,
) -> tuple[Facts, Mapping[str, float]]:
    """One guest that runs the workload of a cell: what became of it, and the seconds of each phase.

    One that does not boot is the kernel's doing if that happens `again`.
    """
    durations: dict[str, float] = {}
    facts = _untouched(workload)
    try:
        arch = arches.load(cell.arch)
        rig = machine.load(workload.machine)
        began = time.monotonic()
        with started(kernel, arch, rig, evidence.directory, clone=clone, say=say) as guest:
            durations["start"] = time.monotonic() - began
            eye = eye_on(guest, kernel)
            facts = exercise(guest, patient(workload, kernel), cell.seed, evidence, known, say, eye=eye)
            durations["exercise"] = time.monotonic() - began - durations["start"]
    except BootError as error:
        accident = isinstance(error, BootTimeoutError) and not again
        ending = Ending.LOST if accident else Ending.HUNG
        facts = replace(facts, ending=ending, trouble=error.message, detail=error.detail)
    except PagelessError as error:
        facts = replace(facts, ending=Ending.LOST, trouble=error.message, detail=error.detail)
    return facts, durations


def patient(workload: Workload, kernel: BuiltKernel) -> Workload:
    """The workload, with as much time as it may take on that kernel."""
    factor = max((n for symbol, n in _PATIENCE.items() if symbol in kernel.configuration), default=1)
    return replace(workload, deadline_s=workload.deadline_s * factor)


def _record(
    kept_run: Run, cell: Cell, prepared: Prepared, facts: Facts, durations: Mapping[str, float]
) -> Record:
    facts = replace(facts, release=prepared.tree.version, chain_size=prepared.chain_size)
    evidence = kept_run.evidence(cell)
    saved.write(evidence.facts_file, facts)
    if facts.single_threaded and facts.ending is Ending.FINISHED:
        saved.write(evidence.userspace, _followed(evidence, prepared.tree))
    return _judge(kept_run, cell, prepared.built, durations)


def _followed(evidence: Evidence, tree: Tree) -> Followed:
    """What the tree's own zsmalloc makes of a guest's trace in user space."""
    case = judge.Case(evidence)
    deadline = Deadline.after(_FOLLOW_S)
    sha256 = ""
    try:
        program = _program(tree, case.facts.page_size, case.geometry.chain_size, deadline)
        sha256 = program.source_sha256
        operations = case.traced.operations
        return Followed(sha256, follow(operations, program, case.geometry, deadline=deadline))
    except (CrashError, HangError) as error:
        return Followed(sha256, broke=error.message)
    except HostError as error:
        return Followed(sha256, unfit=error.message)


def _on_cluster(
    cluster: Cluster,
    kept_run: Run,
    cells: Sequence[Cell],
    workloads: Mapping[str, Workload],
    prepared: Mapping[Target, Prepared],
    clone: bool,
    progress: Progress,
) -> Iterator[Record]:
    """The records of cells whose guests run on workers; those that need no guest are done here."""
    away: list[Cell] = []
    orders = []
    kernels: dict[str, Lent] = {}
    modules: dict[str, Lent] = {}
    for cell in cells:
        target = Target.of(cell)
        workload, ready = workloads[cell.workload], prepared[target]
        kernel = ready.kernel
        if kernel is None or ready.unfit(workload):
            yield _cell(kept_run, cell, workload, ready, clone, progress)
            continue
        if kernel.key not in kernels:
            kernels[kernel.key] = cluster.lend(_packed(kernel.directory))
        if "MODULES" in workload.needs and kernel.key not in modules:
            try:
                with progress.step(f"modules for {target}") as say:
                    built_modules = internals(target, ready.tree, kernel, say).modules()
            except HostError:
                # It ends this cell only, which tells why.
                yield _cell(kept_run, cell, workload, ready, clone, progress)
                continue
            modules[kernel.key] = cluster.lend(_packed(built_modules))
        away.append(cell)
        variant = series.load(cell.series).variant
        orders.append((cell, variant, clone, kernel.key, kernels[kernel.key], modules.get(kernel.key, b"")))
    with progress.step(f"run {len(away)} cells on {cluster.slots} slots of workers") as say:
        for number, done in cluster.each(errand, orders):
            cell = away[number]
            say(cell.label)
            directory = kept_run.evidence(cell).directory
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
            if isinstance(done, Exception):
                trouble = f"the worker was lost, or failed: {type(done).__name__}: {done}"
                facts = replace(_untouched(workloads[cell.workload]), ending=Ending.LOST, trouble=trouble)
                durations: Mapping[str, float] = {}
            else:
                facts, durations, evidence = done
                _unpack(evidence, directory)
            yield _record(kept_run, cell, prepared[Target.of(cell)], facts, durations)


def errand(
    cell: Cell, variant: str, clone: bool, key: str, kernel: bytes, modules: bytes
) -> tuple[Facts, Mapping[str, float], bytes]:
    """What a worker does: one cell, on a kernel that it has or is given; its evidence goes back packed.

    `modules` are ours for that kernel, packed, if the workload may need one: a worker has no tree to
    build them in.
    """
    default_store().publish("kernels", key, lambda directory: _unpack(kernel, directory))
    found = build.find(key)
    assert found is not None
    with tempfile.TemporaryDirectory(prefix="pageless-errand-") as name:
        evidence = Evidence(Path(name, "cell"))
        evidence.directory.mkdir()
        workload = catalogue.load(cell.workload)
        built_modules = Path(name, "modules")
        if modules:
            built_modules.mkdir()
            _unpack(modules, built_modules)
        give = (lambda _: built_modules) if modules else _elsewhere
        known = Internals(Symbols(found.system_map, _elsewhere), give, variant)
        facts, durations = _attempt(evidence, cell, workload, found, known, clone, lambda _: None)
        return facts, durations, _packed(evidence.directory)


def _elsewhere(what: object) -> NoReturn:
    raise HostError(f"a worker has no tree to compile {what} in", hint="run this cell without workers")


def _packed(directory: Path) -> bytes:
    """A directory's files as a compressed tar."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        archive.add(directory, arcname=".")
    return packed.getvalue()


def _unpack(packed: bytes, directory: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        # Python 3.11 has this filter from 3.11.4 on.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(directory)


def _inspect_core(evidence: Evidence, vmlinux: Sequence[Path]) -> None:
    """Keep what the core of a guest that ended badly holds; a core that tells nothing is only warned of."""
    try:
        saved.write(evidence.core_inspection, live.core(evidence.core, vmlinux))
    except PagelessError as error:
        logger.warning("%s: %s", evidence.core, error.message)


def _judge(kept_run: Run, cell: Cell, built: Built | None, durations: Mapping[str, float]) -> Record:
    """Judge a cell's evidence and keep its record."""
    facts = kept_run.evidence(cell).facts()
    today = datetime.datetime.now(datetime.UTC).date()
    verdict, counters = judge.judge(kept_run.evidence(cell), health.load_allowed(), today)
    record = Record(
        cell=cell,
        ending=facts.ending,
        verdict=verdict,
        trouble=facts.trouble,
        detail=facts.detail,
        built=built,
        durations_s=durations,
        counters=counters,
    )
    saved.write(kept_run.record_file(cell), record)
    return record


def judge_again(kept: Archive, kept_run: Run, say: Say) -> Outcome:
    """Judge every cell of a run from its evidence, and keep and report what that comes to."""
    records = []
    for record in kept_run.records():
        say(record.cell.label)
        records.append(_judge(kept_run, record.cell, record.built, record.durations_s))
    return _conclude(kept, kept_run, records)


def _conclude(kept: Archive, kept_run: Run, records: Sequence[Record]) -> Outcome:
    cases = [
        (
            f"{r.cell.kernel} {r.cell.config} {r.cell.workload} seed {r.cell.seed} #{r.cell.repeat}",
            r.cell.series,
            r.cell.arch,
            judge.Case(kept_run.evidence(r.cell)),
        )
        for r in records
    ]
    across = (*kept_run.sources().checks, *judge.across(cases))
    outcome = conclude(kept_run.plan(), tuple(records), across)
    kept.end(kept_run, outcome)
    write_reports(kept_run, outcome)
    return outcome


@dataclass(frozen=True)
class Recorded:
    """A cell's recording: how many schedules were tried, and what went wrong in the last one."""

    cell: Cell
    recording: Recording
    tried: int
    failure: Failure | None


def record(kept_run: Run, cells: Sequence[Cell], *, explore: int, progress: Progress) -> Iterator[Recorded]:
    """Record what the cells of a run did, on one processor, each without a tracer.

    With `explore` schedules to try, the first one that fails is kept, or else the last.
    A cell whose guest executed nothing has nothing to record.
    """
    for cell in cells:
        evidence = kept_run.evidence(cell)
        if not evidence.transcript.exists():
            raise InputError(
                f"nothing was executed for {cell.label}", hint=f"see: pageless report {kept_run.id}"
            )
        workload = catalogue.load(cell.workload)
        passed = evidence.facts().ending is Ending.FINISHED
        steps = [
            step if passed and step.status > 1 else replace(step, status=0)
            for step in saved.read(Transcript, evidence.transcript).steps
        ]
        _tree, kernel = built(Target.of(cell), progress)
        arch = arches.load(cell.arch)
        initramfs = image.initramfs(arch, default_store(), deadline=Deadline.after(IMAGE_S))
        tcg = Accelerator("tcg", "it is recorded")
        setup = Setup(arch, machine.load(workload.machine), tcg, kernel.image, initramfs)
        schedules = [Schedule.perturbed(seed) for seed in range(1, explore + 1)] or [Schedule()]
        with progress.step(f"record {cell.label}") as say:
            for tried, schedule in enumerate(schedules, start=1):  # noqa: B007 (told with the last one)
                say(str(schedule))
                shutil.rmtree(evidence.recording, ignore_errors=True)
                made = recordings.record(
                    setup,
                    kernel.vmlinux,
                    steps,
                    evidence.recording,
                    title=f"{cell.label}, {schedule}",
                    schedule=schedule,
                    deadline=Deadline.after((setup.machine.boot_s + workload.deadline_s) * SLOW_HOST),
                )
                failure = made.failure()
                if failure is not None:
                    break
        yield Recorded(cell, made, tried, failure)


def count(target: Target, progress: Progress) -> dict[str, Cost]:
    """The instructions that each operation of zsmalloc and zram takes with that kernel."""
    _tree, kernel = built(target, progress)
    arch = arches.load(target.arch)
    with tempfile.TemporaryDirectory(prefix="pageless-") as name, progress.step(f"count {target}"):
        initramfs = image.initramfs(arch, default_store(), deadline=Deadline.after(IMAGE_S))
        tcg = Accelerator("tcg", "its instructions are counted")
        setup = Setup(arch, machine.load("default"), tcg, kernel.image, initramfs)
        limit = Deadline.after(COUNT_S)
        return counting.count(setup, kernel.system_map, Path(name), default_store(), deadline=limit)


def find_recording(kept: Archive, name: str, cell: str | None) -> Recording:
    """A recording by its directory, or by its run and a part of its cell's name."""
    directory = Recording(Path(name))
    if directory.exists:
        return directory
    kept_run = kept.find(name)
    cells = [c for c in kept_run.plan().cells if Recording(kept_run.evidence(c).recording).exists]
    if not cells:
        raise InputError(f"nothing was recorded in run {kept_run.id}", hint="pageless run --record")
    wanted = [c for c in cells if cell is None or cell in c.label]
    if len(wanted) != 1:
        known = "; ".join(c.label for c in cells)
        raise InputError(
            f"{len(wanted)} recordings of run {kept_run.id} fit", hint=f"--cell, a part of one of: {known}"
        )
    return Recording(kept_run.evidence(wanted[0]).recording)


def write_reports(kept_run: Run, outcome: Outcome) -> None:
    """The run's JUnit file and HTML page."""
    junit.write(kept_run, outcome)
    html.write(kept_run, outcome)
