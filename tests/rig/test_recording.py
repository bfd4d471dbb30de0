# SPDX-License-Identifier: GPL-2.0-only
"""What a recorded console says of a failure, and what QEMU is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rig.test_qemu import setup
from toolkit.rig import qemu
from toolkit.rig.qemu import Tape
from toolkit.rig.recording import Schedule, failure

BOOT = "[    0.000000] Linux version 6.1.192\n[    0.500000] pageless: init\n"
END = "[    2.000000] pageless: finished\n"


def ended(step: int, status: int) -> str:
    return f"[    1.{step:06}] pageless: ended {step:04} {status}\n"


def test_a_console_with_every_step_as_expected_has_no_failure() -> None:
    assert failure(BOOT + ended(0, 0) + ended(1, 3) + END, (0, 3)) is None


def test_a_step_with_another_status_is_the_failure_at_its_line() -> None:
    found = failure(BOOT + ended(0, 0) + ended(1, 1) + END, (0, 0))
    assert found is not None
    assert (found.what, found.line) == ("step 1 ended with status 1, not 0", 3)


def test_the_kernels_complaint_comes_before_the_step_that_it_broke() -> None:
    bug = "[    1.100000] kernel BUG at mm/zsmalloc.c:1505!\n"
    found = failure(BOOT + ended(0, 0) + bug + ended(1, 139) + END, (0, 0))
    assert found is not None
    assert found.fatal
    assert found.line == 3


def test_a_console_that_does_not_finish_hung_in_its_step() -> None:
    found = failure(BOOT + ended(0, 0), (0, 0, 0))
    assert found is not None
    assert found.what == "it hung in step 1 of 3"
    assert found.fatal


def test_an_empty_console_is_a_failure() -> None:
    assert failure("", ()) is not None


def test_schedules_differ_by_seed_and_are_the_same_for_one() -> None:
    assert Schedule.perturbed(7) == Schedule.perturbed(7)
    assert len({Schedule.perturbed(seed) for seed in range(1, 9)}) == 8


@pytest.mark.parametrize("replayed", [False, True])
def test_a_recorded_guest_talks_to_nobody(replayed: bool) -> None:
    tape = Tape(Path("/log"), replayed=replayed, shift="4")
    words = qemu.argv(setup(), console="file,path=/console.log", control="null", tape=tape)
    assert words[words.index("-accel") + 1] == "tcg,thread=single"
    mode = "replay" if replayed else "record"
    assert words[words.index("-icount") + 1] == f"shift=4,rr={mode},rrfile=/log"
    assert not [word for word in words if "netdev" in word]
    assert ("-S" in words) is replayed
