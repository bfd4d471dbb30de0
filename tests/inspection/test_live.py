# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.inspection import heaps
from toolkit.errors import HostError
from toolkit.inspection import live
from toolkit.inspection.heap import Finding, Layout
from toolkit.inspection.inspection import Inspection, inspect

SOUND = inspect(heaps.heap(Layout.CHAIN), "guest")
STAYS = Finding("lost", "zspage 0x1", "it is allocated and nothing leads to it")


def looks(*wanted: Inspection) -> Inspection:
    left = list(wanted)
    return live.settled(lambda: left.pop(0) if len(left) > 1 else left[0])


def test_a_sound_guest_is_looked_at_once() -> None:
    assert looks(SOUND).looks == 1


def test_what_passes_by_is_not_believed() -> None:
    passing = replace(SOUND, findings=(Finding("count", "class 3", "1 of 2"),))
    settled = looks(passing, SOUND)
    assert (settled.findings, settled.looks) == ((), 2)


def test_what_stays_is_believed_even_if_its_numbers_change() -> None:
    first = replace(SOUND, findings=(STAYS, Finding("count", "class 3", "1 of 2")))
    then = replace(SOUND, findings=(replace(STAYS, what="still there"),))
    assert looks(first, then).findings == (replace(STAYS, what="still there"),)


def test_findings_that_come_and_go_are_none() -> None:
    one = replace(SOUND, findings=(Finding("count", "class 3", "1 of 2"),))
    other = replace(SOUND, findings=(Finding("count", "class 4", "1 of 2"),))
    assert looks(one, other).findings == ()


def test_a_guest_with_a_held_lock_is_looked_at_again() -> None:
    assert looks(replace(SOUND, busy=("zram0: lock",)), SOUND).looks == 2


def test_a_kernel_is_inspectable_with_all_it_takes() -> None:
    assert live.inspectable(dict.fromkeys(live.NEEDS, "y"))
    assert not live.inspectable(dict.fromkeys(live.NEEDS[1:], "y"))


def test_a_socket_that_nobody_serves_is_the_hosts_trouble(tmp_path: Path) -> None:
    pytest.importorskip("drgn")
    with pytest.raises(HostError, match="No such file"):
        live.guest(tmp_path / "absent", [])


def test_a_file_that_is_no_core_is_said_to_be_none(tmp_path: Path) -> None:
    pytest.importorskip("drgn")
    (tmp_path / "core").write_bytes(b"not a core")
    with pytest.raises(HostError, match="cannot be opened"):
        live.core(tmp_path / "core", [])
