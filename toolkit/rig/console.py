# SPDX-License-Identifier: GPL-2.0-only
"""The guest's serial console, read as it comes: kept whole, watched for the guest's progress and its end."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

import pexpect
import pexpect.fdpexpect

from toolkit.deadline import Deadline
from toolkit.rig import splats
from toolkit.rig.image import MARKER

# From the first line of an oops or a panic to the last that is waited for: QEMU ends by itself
# when the guest has printed its report and reboots.
_REPORT_S = 20.0
# A console that prints nothing for so long has nothing more to say.
_QUIET_S = 0.5


class Phase(IntEnum):
    """How far a boot came, by what the console showed."""

    NOTHING = 0
    FIRMWARE = 1
    KERNEL = 2
    INIT = 3
    NETWORK = 4
    SSH = 5
    AWAKE = 6

    @property
    def sentence(self) -> str:
        return {
            Phase.NOTHING: "the console showed nothing",
            Phase.FIRMWARE: "the firmware ran, but no kernel printed its banner",
            Phase.KERNEL: "the kernel started, but not the init program",
            Phase.INIT: "init started, but did not bring up the network",
            Phase.NETWORK: "the network was up, but not ssh",
            Phase.SSH: "ssh was up, but the guest did not take the time over its serial line",
            Phase.AWAKE: "ssh was up, and the guest knew the time",
        }[self]


class Progress:
    """What lines of a console say, fed one by one: how far the guest is and what ended it."""

    def __init__(self, *, booted: bool = False) -> None:
        # A clone wakes when ssh is up: its first banner is already a reboot.
        self.phase = Phase.SSH if booted else Phase.NOTHING
        # Whether its ssh server ended, which nobody at the other end would hear of.
        self.ssh_ended = False
        # What ended it; the title is the line that said so.
        self.fatal: splats.Kind | None = None
        self.title = ""

    def feed(self, line: str) -> None:
        """Take one line, without its end."""
        if _BANNER.match(line):
            if self.phase >= Phase.KERNEL:
                self._end(splats.Kind.REBOOT, "the guest rebooted")
            else:
                self.phase = Phase.KERNEL
        elif found := _MARK.match(line) or _ANSWER.search(line):
            self._mark(found["phase"], found["rest"].split())
        elif (kind := splats.alarm(line)) is not None and kind.fatal:
            self._end(kind, line.strip())
        elif self.phase is Phase.NOTHING and line.strip():
            self.phase = Phase.FIRMWARE

    def _mark(self, phase: str, rest: list[str]) -> None:
        if phase == "ssh" and rest[:1] == ["ended"]:
            self.ssh_ended = True
        elif reached := _PHASES.get(phase):
            self.phase = max(self.phase, reached)

    def _end(self, kind: splats.Kind, title: str) -> None:
        # The first is the cause: an oops is made a panic a few lines later.
        if self.fatal is None:
            self.fatal, self.title = kind, title


# CONFIG_PRINTK_TIME's stamp, with CONFIG_PRINTK_CALLER's behind it.
_STAMP = r"^(?:\[ *\d+\.\d+\](?:\[[^\]]*\])? )?"
_BANNER = re.compile(_STAMP + r"Linux version \d")
_MARK = re.compile(_STAMP + rf"{MARKER}: (?P<phase>\w+)(?P<rest>.*)")
# The answer to what we typed may stand behind its echo: busybox's init switches the echo on again.
_ANSWER = re.compile(rf"{MARKER}: (?P<phase>awake)(?P<rest>)$")
_PHASES = {"init": Phase.INIT, "network": Phase.NETWORK, "ssh": Phase.SSH, "awake": Phase.AWAKE}


class Console:
    """A console that a thread reads; `log` holds all of it, byte for byte."""

    def __init__(self, log: Path, *, booted: bool) -> None:
        self.log = log
        self._progress = Progress(booted=booted)
        self._changed = threading.Condition()
        # Set once nothing more is to be waited for: QEMU hung up, or a report is complete.
        self._over = False
        self._on_over: Callable[[], None] = lambda: None

    @property
    def phase(self) -> Phase:
        return self._progress.phase

    @property
    def fatal(self) -> splats.Kind | None:
        """What ended the guest, as far as its console tells."""
        return self._progress.fatal

    @property
    def ssh_ended(self) -> bool:
        """Whether the guest said that its ssh server ended."""
        return self._progress.ssh_ended

    @property
    def title(self) -> str:
        """The line that told it."""
        return self._progress.title

    def text(self) -> str:
        """All that was printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")

    def report(self) -> str:
        """The fatal report as the guest printed it, or the console's tail."""
        text = self.text()
        fatal = [found.text for found in splats.find_reports(text) if found.kind.fatal]
        return "\n".join(fatal) or tail(text)

    def wait(self, phase: Phase, deadline: Deadline) -> bool:
        """Whether `phase` was reached before the deadline and the console's end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._over or self._progress.fatal or self.phase >= phase, deadline.remaining_s
            )
            return self.phase >= phase and self.fatal is None

    def wait_over(self, deadline: Deadline) -> bool:
        """Whether the console ended, or a fatal report on it was complete, before the deadline."""
        with self._changed:
            return self._changed.wait_for(lambda: self._over, deadline.remaining_s)

    def wait_quiet(self, deadline: Deadline) -> None:
        """Return when nothing was printed for a moment, or at the deadline."""
        with self._changed:
            while not deadline.passed and self._changed.wait(min(_QUIET_S, deadline.remaining_s)):
                pass

    def when_over(self, call: Callable[[], None]) -> None:
        """Call this from the reading thread once the guest, or its ssh, is over; at once if it is."""
        with self._changed:
            self._on_over = call
            over = self._over or self._progress.ssh_ended
        if over:
            call()

    def follow(self, stream: socket.socket, log: BinaryIO) -> None:
        """Read until QEMU hangs up: the reading thread's whole life."""
        lines: pexpect.fdpexpect.fdspawn[bytes] = pexpect.fdpexpect.fdspawn(
            stream, timeout=None, maxread=1 << 16
        )
        lines.logfile_read = log
        grace: Deadline | None = None
        found = _LINE
        while found != _EOF:
            timeout = None if grace is None else grace.remaining_s
            try:
                found = lines.expect_exact([b"\n", pexpect.EOF, pexpect.TIMEOUT], timeout=timeout)
            except ConnectionResetError:
                # QEMU was killed before it had read all that was typed.
                found = _EOF
            log.flush()
            if found == _TIMEOUT:
                self._finish()
                grace = None
                continue
            with self._changed:
                before = self._progress.ssh_ended
                self._progress.feed((lines.before or b"").decode("utf-8", "replace").rstrip("\r"))
                call = self._on_over if self._progress.ssh_ended and not before else None
                self._changed.notify_all()
            if call is not None:
                call()
            if self.fatal is not None and grace is None and not self._over:
                grace = Deadline.after(_REPORT_S)
        self._finish()

    def _finish(self) -> None:
        with self._changed:
            if self._over:
                return
            self._over = True
            call = self._on_over
            self._changed.notify_all()
        call()


# The order of what follow() expects.
_LINE, _EOF, _TIMEOUT = range(3)


@contextlib.contextmanager
def following(stream: socket.socket, log: Path, *, booted: bool = False) -> Iterator[Console]:
    """A console that is read as long as the context; `booted` says that the guest is a clone."""
    console = Console(log, booted=booted)
    with log.open("wb") as sink:
        reader = threading.Thread(target=console.follow, args=(stream, sink), name="console", daemon=True)
        reader.start()
        try:
            yield console
        finally:
            # Reading ends with this, should QEMU still be there.
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
            reader.join()


def tail(text: str, lines: int = 40) -> str:
    """The last lines of a console, for a message."""
    return "\n".join(text.rstrip().splitlines()[-lines:])
