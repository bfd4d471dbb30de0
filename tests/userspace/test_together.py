# SPDX-License-Identifier: GPL-2.0-only
"""Several CPUs at once in user space: trees that are right, planted races, and the same again."""

from __future__ import annotations

import random

import pytest

from tests.userspace.conftest import KERNELS, geometry_of, ports, program_of
from toolkit import places
from toolkit.deadline import Deadline
from toolkit.userspace.library import REFUSED, Request, open_library
from toolkit.userspace.together import Case, check, draw, explore

pytestmark = pytest.mark.kernel

FAULTS = places.declared("patches") / "faults" / "6.1"
LIMIT_S = 300.0


@pytest.mark.parametrize(("kernel", "name"), ports())
def test_right_trees_are_right_whoever_comes_when(kernel: str, name: str) -> None:
    made = geometry_of(kernel, 4096)
    done = explore(program_of(kernel, 4096, name), made, cases=150, seed=7, deadline=Deadline.after(LIMIT_S))
    assert done.difference is None
    assert done.never_done == ()
    assert done.cases == 150


@pytest.mark.parametrize("kernel", KERNELS)
def test_pages_may_be_large(kernel: str) -> None:
    made = geometry_of(kernel, 65536)
    done = explore(program_of(kernel, 65536), made, cases=40, seed=8, deadline=Deadline.after(LIMIT_S))
    assert done.difference is None


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("isolate-twice", "zs_page_isolate"),
        ("isolate-without-recheck", "isolate_movable_page"),
        ("isolate-without-reference", "get_page"),
        ("map-sleeps", "sleeping function"),
        ("map-unlocked", ""),
        ("migrate-write-lock-nested-drop-order-1775", "not held for writing"),
        ("trylock-unwound-not", "hung"),
    ],
)
def test_planted_races_are_found_and_found_again(fault: str, told: str) -> None:
    made = geometry_of("6.1", 4096)
    program = program_of("6.1", 4096, str(FAULTS / f"{fault}.patch"))
    found = explore(program, made, cases=1000, seed=1, deadline=Deadline.after(LIMIT_S), shrink_s=3)
    assert found.difference is not None
    assert told in found.difference.what + found.difference.detail
    assert found.case is not None
    for _ in range(3):
        with open_library(program, deadline=Deadline.after(LIMIT_S)) as library:
            again = check(library, made, found.case)
        assert again is not None
        assert again.kind == found.difference.kind
    compile(found.case.as_pytest(made, "a race"), "found.py", "exec")


def test_the_same_seed_gives_the_same_turns() -> None:
    made = geometry_of("6.1", 4096)
    case = draw(random.Random(3), made)
    answers = []
    for _ in range(3):
        with open_library(program_of("6.1", 4096), deadline=Deadline.after(LIMIT_S)) as library:
            answers.append(library.submit(case.rows()).tolist())
    assert answers[0] == answers[1] == answers[2]


def test_what_cannot_be_shared_out_is_refused() -> None:
    create, malloc = (Request.CREATE, 0, 0, 0), (Request.MALLOC, 0, 100, 1)
    with open_library(program_of("6.1", 4096), deadline=Deadline.after(LIMIT_S)) as library:
        assert library.submit([create, malloc]).tolist() == [0, 0]
        for together in ((2, 1), (0, 1), (5, 1), (2, 9)):
            rows = [(Request.TOGETHER, *together, 0), (Request.DESTROY, 0, 0, 0)]
            assert library.submit(rows).tolist() == [REFUSED, REFUSED]


def test_a_case_without_turns_is_what_one_cpu_does() -> None:
    case = Case(((Request.CREATE, 0, 0, 0), (Request.MALLOC, 0, 100, 0)), ())
    with open_library(program_of("6.1", 4096), deadline=Deadline.after(LIMIT_S)) as library:
        assert check(library, geometry_of("6.1", 4096), case) is None
