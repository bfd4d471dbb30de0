# SPDX-License-Identifier: GPL-2.0-only
"""What a patch is blamed for: what is new, in the files that it touches."""

from __future__ import annotations

import dataclasses

from toolkit import patchcheck
from toolkit.kernel.bloat import Change, Growth
from toolkit.kernel.build import Diagnostic, diagnostics
from toolkit.metrics import Moved
from toolkit.patchcheck import Patchcheck, Step, text
from toolkit.verdict import Check, Status

LOG = """\
  CC      mm/zsmalloc.o
../mm/zsmalloc.c: In function 'zs_malloc':
../mm/zsmalloc.c:10:5: warning: unused variable 'x' [-Wunused-variable]
   10 | int x;
../include/linux/migrate.h:7: warning: Excess function parameter 'mode'
../mm/migrate.c:3:1: error: expected ';' before 'int'
"""
UNUSED = Diagnostic("mm/zsmalloc.c", "warning", "unused variable 'x' [-Wunused-variable]")

STEP = Step(
    number=3,
    patch="0003-x.patch",
    subject="mm: x",
    arch="x86_64",
    trouble="",
    new_warnings=(),
    unexamined=(),
    suite=(Status.PASS, Status.PASS),
    growth=Growth(100, 136, (Change("zs_free", 64, 100),)),
    moved={"fill": (Moved("vmstat/pgfree", 10, 20, 1),), "move": None},
)


def test_diagnostics_are_read_from_makes_output_without_their_lines() -> None:
    assert diagnostics(LOG) == (
        UNUSED,
        Diagnostic("include/linux/migrate.h", "warning", "Excess function parameter 'mode'"),
        Diagnostic("mm/migrate.c", "error", "expected ';' before 'int'"),
    )


def test_a_warning_that_was_there_before_is_not_new() -> None:
    found = patchcheck.compare([UNUSED], [UNUSED], ["mm/zsmalloc.c"])
    assert found.new_warnings == ()


def test_one_more_of_the_same_kind_is_new() -> None:
    found = patchcheck.compare([UNUSED], [UNUSED, UNUSED], ["mm/zsmalloc.c"])
    assert found.new_warnings == (f"mm/zsmalloc.c: warning: {UNUSED.text}",)


def test_a_new_warning_elsewhere_is_not_the_patchs() -> None:
    assert patchcheck.compare([], [UNUSED], ["mm/migrate.c"]).new_warnings == ()


def test_a_file_that_never_compiled_alone_is_named_but_blames_nobody() -> None:
    broken = Diagnostic("mm/z3fold.c", "error", "no such file")
    found = patchcheck.compare([broken], [broken, broken], ["mm/z3fold.c"])
    assert (found.new_warnings, found.unexamined) == ((), ("mm/z3fold.c",))


def test_a_file_that_the_patch_broke_is_blamed() -> None:
    broken = Diagnostic("mm/z3fold.c", "error", "too few arguments")
    assert patchcheck.compare([], [broken], ["mm/z3fold.c"]).new_warnings == (
        "mm/z3fold.c: error: too few arguments",
    )


def test_a_warning_or_a_failed_build_fails_a_step_whose_suite_passes() -> None:
    assert STEP.status is Status.PASS
    assert dataclasses.replace(STEP, new_warnings=("w",)).status is Status.FAIL
    assert dataclasses.replace(STEP, trouble="t", suite=(Status.ERROR,)).status is Status.FAIL
    assert dataclasses.replace(STEP, trouble="t", suite=(Status.CRASH,)).status is Status.CRASH
    assert dataclasses.replace(STEP, suite=()).status is Status.ERROR


def test_the_report_has_a_line_for_each_step_and_says_what_moved() -> None:
    bad = dataclasses.replace(STEP, number=4, trouble="x.c:1: error: y", growth=None, moved={"fill": None})
    found = Patchcheck("s", "6.1.192", {"x86_64": (Status.PASS,)}, (STEP, bad))
    told = list(text.lines(found))
    assert told[0] == "PASS   0 x86_64  suite 1 pass  before the series"
    assert told[1] == "PASS   3 x86_64  build ok, new warnings 0, suite 2 pass, text +36, moved 1  mm: x"
    assert told[2] == "FAIL   4 x86_64  build FAILED, new warnings 0, suite 2 pass, text ?, moved ?  mm: x"
    assert "       vmstat/pgfree 10 -> 20 (+10, noise 1)" in told
    assert "       zs_free 64 -> 100 (+36)" in told
    assert "     x.c:1: error: y" in told
    assert found.status is Status.FAIL
    apart = (Check("baseline/x", Status.FAIL, "class tables differ"),)
    assert dataclasses.replace(found, steps=(STEP,)).status is Status.PASS
    assert dataclasses.replace(found, steps=(STEP,), across=apart).status is Status.FAIL
