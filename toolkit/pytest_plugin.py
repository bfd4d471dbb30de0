# SPDX-License-Identifier: GPL-2.0-only
"""Kernel tests as pytest tests: `def test_something(guest): ...` has a pristine guest of its own.

::

    # pageless test FILE, or in a conftest.py: pytest_plugins = ["toolkit.pytest_plugin"]
    @pytest.mark.guest(machine="small", floors={"zs_page_migrate": 20})
    def test_moved_objects_stay_whole(guest, zram, zsmalloc):
        disk = zram.disk(8 << 20)
        ...

Options choose the kernels, series, architectures and configuration; a test runs on each
kernel of the product.  What it does is traced, sampled and judged like a workload, so that
its own assertions come on top of health, leaks, invariants and the model.  The workloads
of rigs/workloads/ are tests, too: give the directory, or files of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from toolkit import judge, pipeline, places, saved
from toolkit.collect import health
from toolkit.collect import zsmalloc as tables
from toolkit.collect.zsmalloc import ClassTable
from toolkit.errors import InputError, PagelessError
from toolkit.evidence import Evidence, Facts
from toolkit.kernel import arch as arches
from toolkit.kernel.source import Tree
from toolkit.pipeline import Prepared, Target
from toolkit.progress import Say
from toolkit.rig import machine
from toolkit.rig.qemu_guest import QemuGuest
from toolkit.verdict import Check, Status, Verdict
from toolkit.workload import Bench, Workload, catalogue
from toolkit.workload import zram as zrams
from toolkit.workload.zram import ZramDevice

logger = logging.getLogger(__name__)

_DEADLINE_S = 300.0
# What says nothing of a test that made no pool.
_OF_POOLS = ("invariants", "model", "trace", "leak/slabs")


class Steps:
    """Progress to the log: `--log-cli-level=INFO` shows it."""

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Say]:
        logger.info("%s", title)
        yield lambda text: logger.info("%s: %s", title, text)


@dataclass(frozen=True)
class Kernel:
    """A kernel under test, built."""

    target: Target
    prepared: Prepared

    @property
    def release(self) -> str:
        """ "6.1.192" """
        return self.prepared.tree.version

    @property
    def configuration(self) -> Mapping[str, str]:
        """The values of its .config, without CONFIG_; what is not set is absent."""
        return self.prepared.configuration


@dataclass
class Zram:
    """The zram devices of a test; they are removed at its end."""

    guest: QemuGuest
    devices: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def disk(self, disksize_bytes: int, *, algorithm: str | None = None) -> ZramDevice:
        """A new device of that size."""
        return self.devices.enter_context(zrams.disk(self.guest, disksize_bytes, algorithm=algorithm))

    def added(self) -> ZramDevice:
        """A new device without a size."""
        return self.devices.enter_context(zrams.added(self.guest))


@dataclass(frozen=True)
class Zsmalloc:
    """What the guest tells of zsmalloc."""

    guest: QemuGuest

    @property
    def pages(self) -> int:
        """Pages that all zspages have."""
        return zrams.nr_zspages(self.guest)

    def classes(self, pool: str) -> ClassTable:
        """The class table of a pool ("zram1")."""
        return tables.parse(self.guest.read(tables.GLOB.replace("*", pool)).decode())


@dataclass(frozen=True)
class _Started:
    """A guest that a test is to run on, and what it was promised."""

    guest: QemuGuest
    kernel: Kernel
    evidence: Evidence
    workload: Workload


_STARTED = pytest.StashKey[_Started]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pageless", "kernels under test")
    group.addoption("--kernel", action="append", default=[], help="A declared kernel or a tree, repeatable.")
    group.addoption(
        "--series", action="append", default=[], help="A series, repeatable; none is the default."
    )
    group.addoption(
        "--arch", action="append", default=[], help="An architecture, repeatable; all if not given."
    )
    group.addoption("--config", default="base", dest="fragments", help="Fragments, joined by +.")
    group.addoption("--seed", type=int, default=1, help="Of all that is random.")
    group.addoption("--evidence", type=Path, help="Keep what each test left behind in this directory.")
    group.addoption("--ktap", type=Path, help="Write the results as KTAP to this file.")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "guest(machine, floors, needs, single_threaded, deadline_s): what a kernel test wants of its guest",
    )
    if config.getoption("--ktap"):
        config.pluginmanager.register(Ktap(config.getoption("--ktap")))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kernel" in metafunc.fixturenames:
        wanted = targets(metafunc.config)
        metafunc.parametrize(
            "kernel", wanted, ids=[_identity(one) for one in wanted], indirect=True, scope="session"
        )


def targets(config: pytest.Config) -> list[Target]:
    """The kernels that the options ask for."""
    return [
        Target(kernel, series, arch, config.getoption("fragments"))
        for kernel in config.getoption("--kernel") or ["6.1"]
        for arch in config.getoption("--arch") or arches.names()
        for series in config.getoption("--series") or ["none"]
    ]


def _identity(target: Target) -> str:
    return f"{target}".replace("/", ".").replace(" ", "-")


_prepared: dict[Target, Prepared] = {}


def prepare(target: Target) -> Prepared:
    """The kernel of a target, built once a session; what is wrong with it is raised for each test."""
    if target not in _prepared:
        tree: Tree
        tree, kernel = pipeline.built(target, Steps())
        _prepared[target] = Prepared(tree, kernel)
    return _prepared[target]


@pytest.fixture(scope="session")
def kernel(request: pytest.FixtureRequest) -> Kernel:
    """The kernel under test."""
    return Kernel(request.param, prepare(request.param))


@pytest.fixture
def guest(request: pytest.FixtureRequest, kernel: Kernel, tmp_path: Path) -> Iterator[QemuGuest]:
    """A pristine guest, cloned from one that was booted once."""
    workload = _workload(request.node)
    # As a run skips such a cell: nothing is said against a kernel that
    # was built without what it needs, or whose code it is not about.
    if unfit := kernel.prepared.unfit(workload):
        pytest.skip(unfit)
    assert kernel.prepared.kernel is not None
    evidence = Evidence(_directory(request.config, request.node.nodeid, tmp_path))
    arch = arches.load(kernel.target.arch)
    rig = machine.load(workload.machine)
    with pipeline.started(
        kernel.prepared.kernel, arch, rig, evidence.directory, clone=True, say=logger.info
    ) as made:
        request.node.stash[_STARTED] = _Started(made, kernel, evidence, workload)
        yield made


@pytest.fixture
def zram(guest: QemuGuest) -> Zram:
    """Makes zram devices."""
    return Zram(guest)


@pytest.fixture
def zsmalloc(guest: QemuGuest) -> Zsmalloc:
    """Looks at zsmalloc."""
    return Zsmalloc(guest)


@pytest.fixture
def bench(guest: QemuGuest) -> Bench | None:
    """What the helpers of toolkit.workload take; made when the test begins."""
    assert guest
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that has a guest like a workload: traced, between two checkpoints, and judged."""
    started = pyfuncitem.stash.get(_STARTED, None)
    if started is None:
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    looked_at = {"zram", "zsmalloc", "bench"} & set(pyfuncitem.fixturenames)

    def exercise(bench: Bench) -> None:
        if "bench" in arguments:
            arguments["bench"] = bench
        made = arguments.get("zram")
        with made.devices if isinstance(made, Zram) else contextlib.nullcontext():
            pyfuncitem.obj(**arguments)
            if looked_at:
                bench.checkpoint("end-of-test")

    workload = dataclasses.replace(started.workload, exercise=exercise)
    verdict = _try(started, workload, pyfuncitem.config.getoption("--seed"))
    checks = verdict.checks if looked_at else _without_pools(verdict.checks)
    _fail_unless_good(Verdict(tuple(checks)))
    return True


def _workload(item: pytest.Item) -> Workload:
    """What a test says of itself, by its marker."""
    marker = item.get_closest_marker("guest")
    said: dict[str, Any] = dict(marker.kwargs) if marker is not None else {}
    known = {"machine", "floors", "needs", "single_threaded", "deadline_s"}
    if unknown := set(said) - known:
        raise InputError(
            f"the marker guest has no {sorted(unknown)[0]}", hint=f"it has: {', '.join(sorted(known))}"
        )
    return Workload(
        name=item.name,
        title=item.name,
        suites=frozenset(),
        deadline_s=said.get("deadline_s", _DEADLINE_S),
        single_threaded=said.get("single_threaded", False),
        exercise=lambda _: None,
        floors=dict(said.get("floors", {})),
        needs=tuple(said.get("needs", ())),
        machine=said.get("machine", "default"),
    )


def _try(started: _Started, workload: Workload, seed: int) -> Verdict:
    """Run it, and judge what it left."""
    prepared = started.kernel.prepared
    assert prepared.kernel is not None
    known = pipeline.internals(started.kernel.target, prepared.tree, prepared.kernel, logger.info)
    eye = pipeline.eye_on(started.guest, prepared.kernel)
    workload = pipeline.patient(workload, prepared.kernel)
    facts: Facts = pipeline.exercise(
        started.guest, workload, seed, started.evidence, known, logger.info, eye=eye
    )
    facts = dataclasses.replace(facts, release=prepared.tree.version, chain_size=prepared.chain_size)
    saved.write(started.evidence.facts_file, facts)
    today = datetime.datetime.now(datetime.UTC).date()
    return judge.judge(started.evidence, health.load_allowed(), today)[0]


def _without_pools(checks: Iterable[Check]) -> Iterator[Check]:
    for check in checks:
        if check.status is not Status.ERROR or not check.name.startswith(_OF_POOLS):
            yield check


def _fail_unless_good(verdict: Verdict) -> None:
    if verdict.decisive:
        told = [
            f"{check.status.value} {check.name}: {check.summary}\n{check.because}".strip()
            for check in verdict.decisive
        ]
        pytest.fail("\n".join(told), pytrace=False)


def _directory(config: pytest.Config, name: str, scratch: Path) -> Path:
    """Where the evidence of a test goes, empty."""
    kept: Path | None = config.getoption("--evidence")
    directory = scratch / "evidence" if kept is None else kept / name.replace("/", ".").replace("::", ".")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


# The workloads as tests.


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix == ".py" and file_path.parent == places.declared("rigs").resolve() / "workloads":
        collector: pytest.Collector = WorkloadFile.from_parent(parent, path=file_path)
        return collector
    return None


class WorkloadFile(pytest.File):
    """A file of rigs/workloads/: an item for each kernel."""

    def collect(self) -> Iterator[pytest.Item]:
        for target in targets(self.config):
            yield WorkloadItem.from_parent(self, name=_identity(target), target=target)


class WorkloadItem(pytest.Item):
    """A workload on a kernel."""

    def __init__(self, *, target: Target, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.target = target

    def runtest(self) -> None:
        workload = catalogue.load_file(self.path)
        kernel = Kernel(self.target, prepare(self.target))
        # As a run skips such a cell, see the fixture `guest`.
        if unfit := kernel.prepared.unfit(workload):
            pytest.skip(unfit)
        assert kernel.prepared.kernel is not None
        factory: pytest.TempPathFactory = self.config._tmp_path_factory  # type: ignore[attr-defined]  # what tmp_path has
        scratch = factory.mktemp(self.name)
        evidence = Evidence(_directory(self.config, f"{workload.name}-{self.name}", scratch))
        arch, rig = arches.load(self.target.arch), machine.load(workload.machine)
        with pipeline.started(
            kernel.prepared.kernel, arch, rig, evidence.directory, clone=True, say=logger.info
        ) as made:
            verdict = _try(
                _Started(made, kernel, evidence, workload), workload, self.config.getoption("--seed")
            )
        _fail_unless_good(verdict)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.path.stem}[{self.name}]"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, PagelessError):
            return "\n".join(filter(None, (excinfo.value.message, excinfo.value.detail, excinfo.value.hint)))
        return super().repr_failure(excinfo, style)


class Ktap:
    """Writes the results as KTAP version 1 at the end of the session."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[str] = []
        self.number = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        if report.failed:
            self.lines += [f"# {line}" for line in report.longreprtext.splitlines()]
        self.number += 1
        skipped = f" # SKIP {_reason(report)}" if report.skipped else ""
        name = report.nodeid if report.when != "teardown" else f"{report.nodeid} (its end)"
        self.lines.append(f"{'not ok' if report.failed else 'ok'} {self.number} {name}{skipped}")

    def pytest_sessionfinish(self) -> None:
        lines = ["KTAP version 1", f"1..{self.number}", *self.lines]
        self.path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _reason(report: pytest.TestReport) -> str:
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
