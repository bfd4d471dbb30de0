# SPDX-License-Identifier: GPL-2.0-only
"""What a console tells of a guest's progress and its end, from recorded text and over a socket."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolkit.deadline import Deadline
from toolkit.rig import console
from toolkit.rig.console import Console, Phase, Progress
from toolkit.rig.splats import Kind

RECORDED = Path(__file__).parents[1] / "data" / "console"
BOOT = (RECORDED.parent / "boot" / "x86_64.txt").read_text(encoding="utf-8")
OOPS = (RECORDED / "oops-x86_64.txt").read_text(encoding="utf-8")
SOON_S = 10.0


def progress(text: str, *, booted: bool = False) -> Progress:
    made = Progress(booted=booted)
    for line in text.splitlines():
        made.feed(line)
    return made


@pytest.mark.parametrize(
    ("until", "phase"),
    [
        ("Linux version", Phase.NOTHING),
        ("pageless: init", Phase.KERNEL),
        ("pageless: network", Phase.INIT),
        ("pageless: ssh", Phase.NETWORK),
        ("no such line", Phase.SSH),
    ],
)
def test_each_phase_of_a_boot_is_told_by_its_line(until: str, phase: Phase) -> None:
    assert progress(BOOT.partition(until)[0]).phase is phase


def test_the_end_of_the_guests_ssh_is_told_and_its_start_is_none() -> None:
    assert not progress(BOOT).ssh_ended
    assert progress(f"{BOOT}\npageless: ssh ended").ssh_ended


@pytest.mark.parametrize("stamp", ["", "[    1.234567] ", "[    1.234567][   T77] "])
def test_a_phase_is_told_with_and_without_the_kernels_time_stamps(stamp: str) -> None:
    assert progress(f"{stamp}Linux version 6.1.192 (a@b)").phase is Phase.KERNEL
    assert progress(f"{stamp}pageless: network").phase is Phase.NETWORK


def test_a_whole_boot_is_no_alarm() -> None:
    assert progress(BOOT).fatal is None


def test_a_second_banner_is_a_reboot() -> None:
    made = progress(BOOT + BOOT)
    assert (made.fatal, made.title) == (Kind.REBOOT, "the guest rebooted")


def test_the_first_banner_of_a_clone_is_a_reboot() -> None:
    assert progress("[    0.000000] Linux version 6.1.192 (a@b)", booted=True).fatal is Kind.REBOOT


def test_a_banner_that_is_quoted_in_the_middle_of_a_line_is_none() -> None:
    assert progress(BOOT + "read from /proc/version: Linux version 6.1.192 (a@b)").fatal is None


def test_the_first_line_of_an_oops_is_the_cause_not_the_panic_that_follows() -> None:
    made = progress(BOOT + OOPS + "[   10.000000] Kernel panic - not syncing: Fatal exception\n")
    assert made.fatal is Kind.OOPS
    assert "BUG: " in made.title


def test_a_warning_ends_nothing() -> None:
    warning = (RECORDED / "warn-location.txt").read_text(encoding="utf-8")
    assert progress(BOOT + warning).fatal is None


def test_a_firmware_that_finds_no_kernel_is_told_from_a_silent_machine() -> None:
    assert progress("").phase is Phase.NOTHING
    assert progress("SeaBIOS (version 1.16.2)\n").phase.sentence == (
        "the firmware ran, but no kernel printed its banner"
    )


def test_every_phase_has_a_sentence_for_the_message() -> None:
    assert len({phase.sentence for phase in Phase}) == len(Phase)


@contextlib.contextmanager
def wired(tmp_path: Path, *, booted: bool = False) -> Iterator[tuple[Console, socket.socket]]:
    """A console and the end that a guest would write to."""
    ours, theirs = socket.socketpair()
    with ours, theirs, console.following(ours, tmp_path / "console.log", booted=booted) as made:
        yield made, theirs


def test_a_waiter_is_woken_by_the_phase(tmp_path: Path) -> None:
    with wired(tmp_path) as (made, guest):
        guest.sendall(BOOT.encode())
        assert made.wait(Phase.SSH, Deadline.after(SOON_S))


def test_the_console_is_kept_byte_for_byte_also_what_has_no_end_of_line(tmp_path: Path) -> None:
    with wired(tmp_path) as (made, guest):
        guest.sendall(b"one\r\ntwo\xff\r\n# ")
        guest.close()
        assert made.wait_over(Deadline.after(SOON_S))
    assert made.log.read_bytes() == b"one\r\ntwo\xff\r\n# "
    assert made.text() == "one\ntwo\ufffd\n# "


def test_a_guest_that_is_killed_before_it_read_what_was_typed_is_over(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, console.following(ours, tmp_path / "console.log") as made:
        ours.sendall(b"typed")
        theirs.close()
        assert made.wait_over(Deadline.after(SOON_S))


def test_a_guest_that_dies_ends_the_wait_at_once(tmp_path: Path) -> None:
    with wired(tmp_path) as (made, guest):
        guest.sendall(BOOT.partition("pageless: network")[0].encode())
        guest.close()
        deadline = Deadline.after(SOON_S)
        assert not made.wait(Phase.SSH, deadline)
        assert not deadline.passed
        assert made.phase is Phase.INIT


def test_a_crash_is_told_with_its_whole_report_once_qemu_hung_up(tmp_path: Path) -> None:
    called: list[Kind | None] = []
    with wired(tmp_path, booted=True) as (made, guest):
        made.when_over(lambda: called.append(made.fatal))
        guest.sendall(OOPS.encode())
        guest.close()
        assert made.wait_over(Deadline.after(SOON_S))
        assert made.report().splitlines()[-1] in OOPS
        assert len(made.report().splitlines()) > 10
    assert called == [Kind.OOPS]


def test_a_crash_without_qemus_end_is_waited_for_a_little_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_REPORT_S", 0.1)
    with wired(tmp_path, booted=True) as (made, guest):
        guest.sendall(OOPS.encode())
        assert made.wait_over(Deadline.after(SOON_S))
        guest.sendall(b"a last word\n")
        guest.close()
    assert made.text().endswith("a last word\n")


def test_whoever_waits_on_a_guest_whose_ssh_ended_is_told_once(tmp_path: Path) -> None:
    called: list[str] = []
    with wired(tmp_path, booted=True) as (made, guest):
        made.when_over(lambda: called.append("over"))
        guest.sendall(b"pageless: ssh ended\nand more\n")
        assert not made.wait_over(Deadline.after(0.2))
        assert called == ["over"]
        made.when_over(lambda: called.append("at once"))
        assert called == ["over", "at once"]


def test_who_asks_too_late_to_be_told_of_the_end_is_told_at_once(tmp_path: Path) -> None:
    called: list[str] = []
    with wired(tmp_path) as (made, guest):
        guest.close()
        assert made.wait_over(Deadline.after(SOON_S))
        made.when_over(lambda: called.append("over"))
    assert called == ["over"]


def test_the_answer_to_what_was_typed_is_seen_behind_its_echo() -> None:
    progress = Progress(booted=True)
    progress.feed("60a9d18e42[    1.575964] pageless: awake")
    assert progress.phase is Phase.AWAKE
