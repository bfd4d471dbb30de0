# SPDX-License-Identifier: GPL-2.0-only
"""Workload files: an added one is found by being there, a wrong one is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.errors import DeclarationError, UnknownNameError
from toolkit.workload import SUITES, Workload, catalogue

GOOD = '''
from toolkit.workload import Bench, workload

@workload(suites=["quick"], deadline_s=60, single_threaded=True)
def exercise(bench: Bench) -> None:
    """One line.

    Some more.
    """
'''


@pytest.mark.parametrize("name", catalogue.names())
def test_every_declared_workload_loads_and_promises_something(name: str) -> None:
    loaded = catalogue.load(name)
    assert loaded.name == name
    assert loaded.suites <= set(SUITES)
    assert loaded.title.endswith(".")
    assert loaded.deadline_s > 0
    assert loaded.floors, "a workload that may have done nothing proves nothing"
    assert all(floor > 0 for floor in loaded.floors.values())
    assert all(need.isupper() for need in loaded.needs)


@pytest.mark.parametrize("name", ["smoke", "quick", "full"])
def test_every_suite_has_workloads(name: str) -> None:
    suite = catalogue.suite(name)
    assert suite
    assert all(name in workload.suites for workload in suite)


def test_what_is_quick_enough_for_a_smaller_suite_is_in_the_larger() -> None:
    for workload in map(catalogue.load, catalogue.names()):
        if "smoke" in workload.suites:
            assert "quick" in workload.suites, workload.name
        if "quick" in workload.suites:
            assert "full" in workload.suites, workload.name


def test_a_suite_may_be_named_for_a_workload() -> None:
    in_suite = [workload.name for workload in catalogue.suite("smoke")]
    assert [workload.name for workload in catalogue.select("smoke")] == in_suite
    assert [workload.name for workload in catalogue.select("fill")] == ["fill"]


def test_an_unknown_name_gets_a_near_miss() -> None:
    with pytest.raises(UnknownNameError, match="unknown workload 'fil'") as caught:
        catalogue.load("fil")
    assert caught.value.hint == "did you mean 'fill'?"
    with pytest.raises(UnknownNameError, match="unknown workload or suite 'qick'") as caught:
        catalogue.select("qick")
    assert caught.value.hint == "did you mean 'quick'?"
    with pytest.raises(UnknownNameError, match="unknown suite 'fill'"):
        catalogue.suite("fill")


def load(tmp_path: Path, text: str, name: str = "some-name.py") -> Workload:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return catalogue.load_file(path)


def test_the_name_is_the_stem_and_the_title_the_first_line(tmp_path: Path) -> None:
    loaded = load(tmp_path, GOOD)
    assert (loaded.name, loaded.title) == ("some-name", "One line.")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("def f(:\n", r"some-name\.py:1: invalid syntax"),
        ("\nx = 1 / 0\n", r"some-name\.py:2: ZeroDivisionError: division by zero"),
        (
            "import no_such_module\n",
            r"some-name\.py:1: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("x = 1\n", r"some-name\.py: no workload in it"),
        (GOOD + GOOD.replace("exercise", "again"), r"some-name\.py: 2 workloads in it"),
        (GOOD.replace("quick", "quik"), r"some-name\.py:4: ValueError: unknown suite 'quik'"),
    ],
)
def test_a_wrong_file_is_told_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(DeclarationError, match=complaint):
        load(tmp_path, text)


def test_a_workload_without_a_docstring_is_refused(tmp_path: Path) -> None:
    text = GOOD.partition('    """')[0] + "    bench.count('x', 1)\n"
    with pytest.raises(DeclarationError, match="needs a docstring"):
        load(tmp_path, text)
