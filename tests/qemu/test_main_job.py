# SPDX-License-Identifier: GPL-2.0-only
"""The main job as a user runs it: real kernels, real guests, every architecture."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from toolkit import places
from toolkit.kernel import arch as arches
from toolkit.workload import catalogue

pytestmark = [pytest.mark.qemu, pytest.mark.kernel]

FAULTS = places.declared("patches") / "faults" / "6.1"


@dataclass(frozen=True)
class Done:
    """A run that ended: its exit status, its Outcome as JSON, what it said, its directory."""

    status: int
    outcome: dict[str, Any]
    said: str
    directory: Path

    def failed(self) -> set[str]:
        """The names of the checks that did not pass, over all cells."""
        return {name for _cell, name, _summary in self._failures()}

    def failures(self) -> list[str]:
        """The same with the cell that each is of, and what it saw."""
        return [": ".join(failure) for failure in self._failures()]

    def _failures(self) -> Iterator[tuple[str, str, str]]:
        for cell in self.outcome["cells"]:
            of = "{series} {arch} {workload}".format_map(cell["cell"])
            for check in cell["verdict"]["checks"]:
                if check["status"] not in ("pass", "skip"):
                    yield of, check["name"], check["summary"]


def run(state: Path, *argv: str) -> Done:
    """`pageless run` with the user's cache, and a state of its own."""
    done = subprocess.run(
        [sys.executable, "-c", "from toolkit.cli import main; main()", "run", "--json", *argv],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "XDG_STATE_HOME": str(state)},
        check=False,
    )
    assert done.stdout, done.stderr
    outcome = json.loads(done.stdout)
    return Done(done.returncode, outcome, done.stderr, state / "pageless" / "runs" / outcome["id"])


def kernels() -> set[str]:
    """The keys of all kernels in the store."""
    return {path.name for path in (places.cache_dir() / "store" / "kernels").iterdir()}


# These come first, while what was built last is the tree without a series: little is to be built anew.
@pytest.mark.parametrize("arch", arches.names())
@pytest.mark.parametrize(
    ("fault", "check"),
    [("pages-per-zspage-short", "model/classes"), ("free-uncounted", "model/obj_used")],
)
def test_a_planted_fault_fails_the_run_and_names_what_differs(
    fault: str, check: str, arch: str, tmp_path: Path
) -> None:
    done = run(tmp_path, "--series", str(FAULTS / f"{fault}.patch"), "--arch", arch, "--workload", "fill")
    assert done.status == 1, done.said
    assert check in done.failed()


# Each is found by another workload, or by none but user space.
SAMPLE = (
    "accessed-untimed",
    "huge-uncounted",
    "isolate-without-reference",
    "map-unlocked",
    "read-slot-unlocked",
    "writeback-error-sticks",
    "writeback-unchecked",
)


def test_a_sample_of_faults_is_found(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable, "-c", "from toolkit.cli import main; main()", "mutate", "--json",
            "--config", "base", "--arch", "x86_64", "--results", str(tmp_path / "faults.json"), *SAMPLE,
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
        check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    fates = {one["fault"]: one["fate"] for one in json.loads(done.stdout)["findings"]}
    assert fates == dict.fromkeys(SAMPLE, "killed"), done.stderr
    assert done.returncode == 0


# Of the series one architecture has to do here: its kernel shares no object with the one without it, and
# takes a new machine many minutes to build.
WITH_SERIES = ("--series", "none", "--series", "pageless-owner", "--arch", "arm64")


@pytest.fixture(scope="module")
def main_job(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Baseline and series, with the suite that takes seconds."""
    return run(tmp_path_factory.mktemp("state"), *WITH_SERIES, "--workload", "smoke")


@pytest.mark.parametrize(("series", "arch"), [("none", "x86_64"), ("pageless-owner", "arm64")])
def test_every_workload_of_the_default_suite_passes_and_none_is_skipped(
    series: str, arch: str, tmp_path: Path
) -> None:
    done = run(tmp_path, "--series", series, "--arch", arch)
    assert done.failures() == [], done.said
    assert done.status == 0
    finished = {cell["cell"]["workload"] for cell in done.outcome["cells"] if cell["ending"] == "finished"}
    # 6.1 cannot recompress.
    assert {workload.name for workload in catalogue.select("quick")} - finished == {"recompress"}


def test_every_cell_of_the_main_job_passes(main_job: Done) -> None:
    assert main_job.failures() == [], main_job.said
    assert main_job.status == 0
    assert {cell["cell"]["series"] for cell in main_job.outcome["cells"]} == {"none", "pageless-owner"}


def tables_are_exact_and_equal(done: Done, kind: str) -> None:
    """Those of workloads of one thread, in all cells, which checks of that kind have compared."""
    across = {check["name"]: check["status"] for check in done.outcome["across"]}
    assert set(across.values()) == {"pass"}
    for workload in ("fill", "zram-compact"):
        assert any(name.startswith(f"{kind}/") and workload in name for name in across)
        for cell in done.outcome["cells"]:
            if cell["cell"]["workload"] == workload:
                checks = {check["name"]: check["summary"] for check in cell["verdict"]["checks"]}
                compared, _, exact = checks["model/obj_used"].partition(" values, ")
                assert exact.startswith(f"{compared} of them exact")


def test_single_threaded_tables_are_equal_with_and_without_the_series(main_job: Done) -> None:
    tables_are_exact_and_equal(main_job, "baseline")


def test_single_threaded_tables_are_equal_on_all_architectures(tmp_path: Path) -> None:
    done = run(tmp_path, "--series", "none", "--workload", "smoke")
    assert {cell["cell"]["arch"] for cell in done.outcome["cells"]} == set(arches.names())
    tables_are_exact_and_equal(done, "cross-arch")


def test_the_series_leaves_nothing_of_struct_page_to_zsmalloc_but_its_owner(main_job: Done) -> None:
    found = {check["name"]: check["status"] for check in main_job.outcome["across"]}
    assert found["pageless/6.1 pageless-owner arm64 base"] == "pass"


def test_a_second_identical_run_builds_nothing(main_job: Done, tmp_path: Path) -> None:
    before = kernels()
    again = run(tmp_path, *WITH_SERIES, "--workload", "smoke")
    assert again.status == 0, again.said
    assert kernels() == before
    assert " CC " not in again.said


def test_an_old_run_is_judged_again_to_the_same_verdict_without_a_guest(main_job: Done) -> None:
    state = main_job.directory.parents[2]
    done = subprocess.run(
        [sys.executable, "-c", "from toolkit.cli import main; main()", "judge", "last", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_STATE_HOME": str(state), "PATH": "/nonexistent"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cells"] == main_job.outcome["cells"]


def test_the_reports_of_the_main_job_are_beside_it(main_job: Done) -> None:
    assert (main_job.directory / "report.html").stat().st_size > 10_000
    assert "<testsuite" in (main_job.directory / "junit.xml").read_text(encoding="utf-8")


@pytest.mark.parametrize("arch", arches.names())
def test_every_race_comes_to_its_places_and_a_good_kernel_survives_it(arch: str, tmp_path: Path) -> None:
    done = run(tmp_path, "--series", "none", "--arch", arch, "--workload", "races")
    assert done.failures() == [], done.said
    assert done.status == 0


def test_a_patch_that_panics_is_a_crash_with_the_kernels_report(tmp_path: Path) -> None:
    fault = str(FAULTS / "free-panics.patch")
    done = run(tmp_path, "--series", fault, "--arch", arches.names()[0], "--workload", "fill")
    assert done.status == 3, done.said
    (cell,) = done.outcome["cells"]
    assert cell["ending"] == "oops"
    assert "kernel BUG at mm/zsmalloc.c" in cell["detail"]


def programs_of(state: Path) -> list[str]:
    """The programs that run with that XDG_STATE_HOME."""
    programs = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"XDG_STATE_HOME={state}\0" in process.joinpath("environ").read_text(errors="replace"):
                programs.append(process.joinpath("comm").read_text().strip())
    return programs


def test_an_interrupt_leaves_no_guest_and_an_index_that_opens(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", "from toolkit.cli import main; main()"]
    process = subprocess.Popen(
        [*command, "run", "--series", "none", "--arch", arches.names()[0], "--workload", "churn"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # Whoever runs the tests in the background may have it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    runs = tmp_path / "pageless" / "runs"
    while process.poll() is None and not list(runs.glob("*/cells/*/checkpoints/baseline")):
        time.sleep(0.1)
    assert any("qemu" in program for program in programs_of(tmp_path))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert programs_of(tmp_path) == []
    listed = subprocess.run(
        [*command, "list", "runs", "--json"], capture_output=True, text=True, env=environment, check=True
    )
    (run_listed,) = json.loads(listed.stdout)
    assert run_listed["status"] is None
    assert not list(runs.glob("*/cells/*/record.json"))
