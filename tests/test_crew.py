# SPDX-License-Identifier: GPL-2.0-only
"""Cells on workers without our disk: what they lack is lent to them, and their death costs a retry."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.report import runs
from tests.report.runs import FILL, GOOD
from toolkit import pipeline, saved
from toolkit.archive import Archive
from toolkit.collect import health
from toolkit.crew import SLOT, Cluster
from toolkit.deadline import Deadline
from toolkit.errors import BootError, BootTimeoutError, HostError
from toolkit.evidence import Ending, Evidence, Facts
from toolkit.kernel.build import BuiltKernel
from toolkit.kernel.internals import Internals
from toolkit.record import Cell
from toolkit.store import default_store
from toolkit.workload import catalogue

pytest.importorskip("distributed")
TOP = Path(__file__).parents[1]
# Three Pythons start, on a host that may do much else.
READY_S = 300.0


@contextlib.contextmanager
def _dask(*words: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]],
        env={**os.environ, "PYTHONPATH": str(TOP), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler with two workers, a slot and a cache of its own each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = f"tcp://127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            _dask("dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        )
        for number in (1, 2):
            own = tmp_path_factory.mktemp(f"worker{number}")
            stack.enter_context(
                _dask(
                    "dask_worker", where, "--nthreads", "1", "--resources", f"{SLOT}=1", "--no-dashboard",
                    "--local-directory", str(own), XDG_CACHE_HOME=str(own / "cache"),
                )
            )  # fmt: skip
        deadline = Deadline.after(READY_S)
        slots = 0
        while slots < 2 and not deadline.passed:
            with contextlib.suppress(HostError), Cluster(where) as cluster:
                slots = cluster.slots
            time.sleep(0.2)
        assert slots == 2
        yield where


def _die_once(mark: str, number: int) -> int:
    """The first to come kills its worker's process."""
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return number * 10
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _fail(number: int) -> int:
    raise ValueError(f"order {number}")


def test_a_worker_that_dies_costs_its_order_a_retry(address: str, tmp_path: Path) -> None:
    orders = [(str(tmp_path / "mark"), number) for number in range(6)]
    with Cluster(address) as cluster:
        done = dict(cluster.each(_die_once, orders))
    assert done == {number: number * 10 for number in range(6)}
    assert (tmp_path / "mark").exists()


def _die_once_with(lent: bytes, mark: str) -> int:
    return _die_once(mark, len(lent))


def test_what_was_lent_may_die_with_its_worker(address: str, tmp_path: Path) -> None:
    """It lay there alone: without it, the other worker can do none of these."""
    with Cluster(address) as cluster:
        lent = cluster.lend(b"kernel")
        done = dict(cluster.each(_die_once_with, [(lent, str(tmp_path / "mark"))] * 6))
    assert done == dict.fromkeys(range(6), 60)


def test_what_an_order_raises_ends_that_order_only(address: str) -> None:
    with Cluster(address) as cluster:
        done = dict(cluster.each(_fail, [(1,), (2,)]))
    assert [str(done[number]) for number in (0, 1)] == ["order 1", "order 2"]


def test_what_is_lent_arrives_as_it_was(address: str) -> None:
    with Cluster(address) as cluster:
        lent = cluster.lend(b"kernel")
        assert dict(cluster.each(len, [(lent,), (lent,)])) == {0: 6, 1: 6}


def test_without_a_scheduler_the_hint_says_how_to_start_one() -> None:
    with pytest.raises(HostError, match=r"no scheduler at tcp://127\.0\.0\.1:9"):
        Cluster("tcp://127.0.0.1:9", within_s=1)


def test_an_errand_brings_the_kernel_and_takes_back_the_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a worker with a store of its own: it lacks the kernel, and runs a guest that leaves files."""
    kernel = tmp_path / "kernel"
    kernel.mkdir()
    (kernel / "vmlinux").write_bytes(b"ELF")
    (kernel / "kernel.json").write_text('{"image": "vmlinux", "release": "6.1.192"}', encoding="utf-8")
    packed = pipeline._packed(kernel)
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "one.ko").write_bytes(b"ELF too")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    used: list[BuiltKernel] = []

    def attempt(
        evidence: Evidence,
        cell: Cell,
        workload: object,
        built: BuiltKernel,
        known: Internals,
        *_: object,
    ) -> tuple[Facts, Mapping[str, float]]:
        used.append(built)
        assert (known.modules() / "one.ko").read_bytes() == b"ELF too"
        evidence.console_log.write_text("Linux version", encoding="utf-8")
        facts = Facts("fill", True, {}, "", 4096, None, Ending.FINISHED)
        return facts, {"exercise": 1.0}

    monkeypatch.setattr(pipeline, "_attempt", attempt)
    facts, durations, evidence = pipeline.errand(
        FILL, "owner", True, "a" * 64, packed, pipeline._packed(modules)
    )
    assert used[0].image.read_bytes() == b"ELF"
    assert default_store().find("kernels", "a" * 64) == used[0].directory
    back = tmp_path / "back"
    back.mkdir()
    pipeline._unpack(evidence, back)
    assert Evidence(back).console() == "Linux version"
    assert (facts.ending, durations) == (Ending.FINISHED, {"exercise": 1.0})


class _FakeCluster:
    """Runs every order here, but loses the second."""

    slots = 1

    def lend(self, data: bytes) -> bytes:
        return data

    def each(self, function: Any, orders: list[Any]) -> Iterator[tuple[int, Any]]:
        for number, order in enumerate(orders):
            yield number, RuntimeError("killed three times") if number == 1 else function(*order)


class _Quiet:
    def step(self, title: str) -> Any:
        return contextlib.nullcontext(lambda text: None)


def test_every_cell_has_a_record_and_a_lost_one_is_trouble_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = tuple(dataclasses.replace(FILL, repeat=number) for number in range(3))
    kept_run = Archive(tmp_path).begin([], cells)
    kernel = BuiltKernel(tmp_path, tmp_path / "vmlinux", "6.1.192", "k")
    prepared = type("Prepared", (), {"kernel": kernel, "unfit": lambda self, workload: ""})()
    facts = Facts("fill", True, {}, "", 4096, None, Ending.FINISHED)
    monkeypatch.setattr(pipeline, "_packed", lambda directory: b"")
    monkeypatch.setattr(pipeline, "_unpack", lambda packed, directory: None)
    monkeypatch.setattr(pipeline, "errand", lambda *order: (facts, {}, b""))
    monkeypatch.setattr(
        pipeline,
        "_record",
        lambda run, cell, ready, facts, durations: runs.record(
            cell, GOOD, ending=facts.ending, trouble=facts.trouble
        ),
    )
    found = list(
        pipeline._on_cluster(
            _FakeCluster(),  # type: ignore[arg-type]
            kept_run,
            cells,
            {"fill": catalogue.load("fill")},
            {pipeline.Target.of(FILL): prepared},
            True,
            _Quiet(),
        )
    )
    assert [record.cell for record in found] == list(cells)
    assert [record.ending for record in found] == [Ending.FINISHED, Ending.LOST, Ending.FINISHED]
    assert "killed three times" in found[1].trouble
    assert saved.to_plain(found[0])


STALL = "[   94.919578] rcu: INFO: rcu_sched self-detected stall on CPU\n"
WARNING = "[   95.000000] WARNING: CPU: 0 PID: 1 at mm/zsmalloc.c:1 zs_free+0x1/0x2\n"


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ((Ending.LOST, ""), True),
        ((Ending.FINISHED, STALL), True),
        ((Ending.HUNG, STALL), False),
        ((Ending.FINISHED, STALL + WARNING), False),
        ((Ending.FINISHED, ""), False),
    ],
)
@pytest.mark.parametrize("second", [(Ending.FINISHED, "fine"), (Ending.FINISHED, STALL), (Ending.LOST, "")])
def test_a_cell_that_met_trouble_of_the_host_is_run_once_more_and_what_it_left_is_kept(
    first: tuple[Ending, str],
    told: bool,
    second: tuple[Ending, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept_run = Archive(tmp_path).begin([], (FILL,))
    tree = type("Tree", (), {"version": "6.1.192"})()
    prepared = type("Prepared", (), {"kernel": object(), "tree": tree, "unfit": lambda self, workload: ""})()
    attempts = [first, second]

    def attempt(evidence: Evidence, *_: object, again: bool = False) -> tuple[Facts, Mapping[str, float]]:
        assert again == (len(attempts) == 1)
        ending, console = attempts.pop(0)
        evidence.console_log.write_text(console, encoding="utf-8")
        return Facts("fill", True, {}, "", 4096, None, ending, trouble="some"), {}

    monkeypatch.setattr(pipeline, "_attempt", attempt)
    monkeypatch.setattr(pipeline, "internals", lambda *_: None)
    monkeypatch.setattr(
        pipeline,
        "_record",
        lambda run, cell, ready, facts, durations: runs.record(cell, GOOD, ending=facts.ending),
    )
    workload = catalogue.load("fill")
    done = pipeline._cell(kept_run, FILL, workload, prepared, True, _Quiet())
    ending, console = second if told else first
    assert (done.ending, len(attempts)) == (ending, 0 if told else 1)
    directory = kept_run.evidence(FILL).directory
    assert (directory / "console.log").read_text(encoding="utf-8") == console
    lost = directory.with_name(f"{directory.name}.lost")
    assert lost.exists() == told
    if told:
        assert (lost / "console.log").read_text(encoding="utf-8") == first[1]


@pytest.mark.parametrize(
    ("error", "again", "ending"),
    [
        (BootTimeoutError("it took too long"), False, Ending.LOST),
        (BootTimeoutError("it took too long"), True, Ending.HUNG),
        (BootError("it crashed"), False, Ending.HUNG),
    ],
)
def test_a_boot_that_takes_too_long_is_the_kernels_doing_when_it_does_so_again(
    error: BootError, again: bool, ending: Ending, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(pipeline, "started", started)
    nothing: Any = None
    workload = catalogue.load("fill")
    facts, _ = pipeline._attempt(
        Evidence(tmp_path), FILL, workload, nothing, nothing, True, print, again=again
    )
    assert (facts.ending, facts.trouble) == (ending, error.message)


@pytest.mark.parametrize(("kernel", "excused"), [("6.1", True), ("6.12", False)])
def test_a_stall_that_is_allowed_is_no_trouble(
    kernel: str, excused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = health.Allowed("*", "it is known", datetime.date.max, kernel)
    monkeypatch.setattr(health, "load_allowed", lambda: (known,))
    evidence = Evidence(tmp_path)
    evidence.console_log.write_text(STALL, encoding="utf-8")
    facts = Facts("fill", True, {}, "", 4096, None, Ending.FINISHED)
    assert (pipeline._accident(facts, evidence, "6.1.192") == "") is excused
