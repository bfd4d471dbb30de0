# SPDX-License-Identifier: GPL-2.0-only
"""Kernel tests under pytest: which there are, what they may say, and how results are told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from toolkit import places
from toolkit.deadline import Deadline
from toolkit.run import Completed, run

TEST = """
import pytest

def test_with_a_guest(guest): ...
def test_without(): ...
def test_that_fails(): assert False, "of itself"
"""


@pytest.fixture
def test_file(tmp_path: Path) -> Path:
    path = tmp_path / "test_it.py"
    path.write_text(TEST)
    return path


def under_pytest(*arguments: str | Path) -> Completed:
    words = [sys.executable, "-m", "pytest", "-p", "toolkit.pytest_plugin", "-q", *map(str, arguments)]
    return run(words, deadline=Deadline.after(60), ok=None)


def test_a_test_with_a_guest_is_one_for_each_kernel(test_file: Path) -> None:
    options = ["--series=none", "--series=pageless-owner", "--arch=arm64", "--arch=x86_64", "--config=debug"]
    listed = under_pytest("--collect-only", *options, test_file).stdout
    for identity in (
        "6.1-none-arm64-debug", "6.1-pageless-owner-arm64-debug",
        "6.1-none-x86_64-debug", "6.1-pageless-owner-x86_64-debug",
    ):  # fmt: skip
        assert f"test_with_a_guest[{identity}]" in listed
    assert listed.count("test_without") == 1


def test_a_workload_is_a_test_for_each_kernel(test_file: Path) -> None:
    workload = places.declared("rigs") / "workloads" / "fill.py"
    listed = under_pytest("--collect-only", "--arch=arm64", workload).stdout
    assert "fill.py::6.1-none-arm64-base" in listed


def test_results_are_told_as_ktap(test_file: Path, tmp_path: Path) -> None:
    ktap = tmp_path / "results.ktap"
    done = under_pytest(f"--ktap={ktap}", "-k", "test_without or test_that_fails", test_file)
    assert done.status == 1
    version, plan, *lines = ktap.read_text().splitlines()
    assert (version, plan) == ("KTAP version 1", "1..2")
    assert lines[0].startswith("ok 1 ") and lines[0].endswith("test_it.py::test_without")
    assert lines[-1].startswith("not ok 2 ")
    assert any("of itself" in line for line in lines[1:-1])
