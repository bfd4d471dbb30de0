# SPDX-License-Identifier: GPL-2.0-only
"""Guests in QEMU: booted until ssh answers, watched while they work, and explained when they end."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from toolkit.deadline import Deadline
from toolkit.errors import (
    BootError,
    BootTimeoutError,
    CommandError,
    CrashError,
    HangError,
    PagelessError,
    QemuError,
    brief,
)
from toolkit.kernel.arch import Arch
from toolkit.rig import console as consoles
from toolkit.rig import qemu as qemus
from toolkit.rig import ssh
from toolkit.rig.console import Console, Phase
from toolkit.rig.guest import Output
from toolkit.rig.machine import Machine
from toolkit.rig.monitor import Monitor
from toolkit.rig.qemu import Qemu, Setup
from toolkit.rig.splats import Kind

# How long reading or writing one file of the guest may take.
_FILE_S = 120.0
# After the connection broke: the guest's last words come within this.
_LAST_WORDS_S = 60.0
# Whether a guest answers at all, when one of its commands does not end.
_PROBE_S = 30.0
_SEED_BYTES = 32


class Ending(StrEnum):
    """How a guest stands, or how it ended."""

    RUNNING = "running"
    FINISHED = "finished"  # we ended it
    CRASHED = "crashed"  # a panic or an oops
    REBOOTED = "rebooted"  # it reset itself without a word, or booted twice
    HUNG = "hung"  # it did not answer by a deadline
    LOST = "lost"  # QEMU died: no word about the guest's kernel


class QemuGuest:
    """A guest that answered; made by `boot` and by `template.clone`."""

    def __init__(self, setup: Setup, qemu: Qemu, console: Console, session: ssh.Session) -> None:
        self.setup = setup
        self._qemu = qemu
        self._console = console
        self._session = session
        self._finished = False
        self._hung = False
        # Takes each command that ended, its standard input and status.
        self.note: Callable[[str, bytes, int], None] = lambda *_: None
        # Nothing waits for a guest that is over: its connection is broken for it.
        console.when_over(session.abandon)

    @property
    def arch(self) -> Arch:
        return self.setup.arch

    @property
    def machine(self) -> Machine:
        return self.setup.machine

    @property
    def directory(self) -> Path:
        """What is kept of this guest: console.log, qemu.stderr, qemu.command and, of a hang, more."""
        return self._qemu.directory

    @property
    def pid(self) -> int:
        """QEMU's process."""
        return self._qemu.process.pid

    @property
    def qmp(self) -> Monitor:
        return self._qemu.monitor

    @property
    def inspector(self) -> Path | None:
        """Where a second QMP session can be had, of an inspectable guest."""
        return self._qemu.inspector

    def dump(self) -> None:
        """Keep the guest's memory, as ELF, as `core` in `directory`; QemuError if QEMU cannot."""
        self._qemu.dump()

    def execute(
        self, command: str, *, deadline: Deadline, stdin: bytes = b"", ok: Sequence[int] | None = (0,)
    ) -> Output:
        """Run a shell command.

        CommandError for a status outside `ok` (None accepts all); CrashError as soon as
        the guest panics or reboots; HangError at the deadline, with what could be learnt
        from outside in `directory`; QemuError if QEMU died.
        """
        try:
            output = self._session.execute(command, deadline=deadline, stdin=stdin)
        except ssh.Lost as error:
            self.note(command, stdin, 0)
            raise self._explained(f"while it ran {brief(command)}", str(error)) from error
        except ssh.Late as error:
            raise self._stuck(error.output) from None
        self.note(command, stdin, output.status)
        if ok is not None and output.status not in ok:
            raise CommandError(
                command, output.status, (output.stderr or output.stdout).decode("utf-8", "replace")
            )
        return output

    @contextlib.contextmanager
    def unnoted(self) -> Iterator[None]:
        """Keep what is executed meanwhile from whoever takes notes."""
        noting, self.note = self.note, lambda *_: None
        try:
            yield
        finally:
            self.note = noting

    def read(self, path: str) -> bytes:
        """The whole content of a file, of sysfs, procfs and debugfs too."""
        return self.execute(f"cat {shlex.quote(path)}", deadline=Deadline.after(_FILE_S)).stdout

    def write(self, path: str, data: bytes | str) -> None:
        """Write a file with one write(2), as sysfs attributes want it."""
        content = data.encode() if isinstance(data, str) else data
        self.execute(f"put {shlex.quote(path)}", deadline=Deadline.after(_FILE_S), stdin=content)

    def interact(self) -> int:
        """A shell on this process's terminal, from its main thread; returns the shell's exit status."""
        try:
            return self._session.interact(deadline=Deadline.after(_FILE_S))
        except ssh.Lost as error:
            raise self._explained("under an interactive shell", str(error)) from error

    def console(self) -> str:
        """All that the serial console printed so far."""
        return self._console.text()

    def ending(self) -> Ending:
        """How the guest stands now, or what ended it."""
        # A hang is ended by an interrupt that makes the guest panic: the hang came first.
        if self._hung:
            return Ending.HUNG
        if self._console.fatal is Kind.REBOOT:
            return Ending.REBOOTED
        if self._console.fatal is not None:
            return Ending.CRASHED
        if self._finished:
            return Ending.FINISHED
        if not self._qemu.gone:
            return Ending.RUNNING
        return Ending.REBOOTED if self._qemu.guest_reset else Ending.LOST

    def finish(self) -> None:
        """Mark that whatever ends the guest from now on is us."""
        if self.ending() is Ending.RUNNING:
            self._finished = True

    def _explained(self, when: str, detail: str) -> PagelessError:
        """Why the connection broke, once the guest's last words have come."""
        if self._console.wait_over(Deadline.after(_LAST_WORDS_S)) and self._console.fatal is None:
            self._qemu.wait_gone(Deadline.after(_LAST_WORDS_S))
        ending = self.ending()
        if ending is Ending.CRASHED:
            return CrashError(
                f"the guest crashed {when}: {self._console.title}", detail=self._console.report()
            )
        if ending is Ending.REBOOTED:
            return CrashError(
                f"the guest rebooted {when}",
                hint=f"its console: {self._console.log}",
                detail=consoles.tail(self.console()),
            )
        if ending in (Ending.LOST, Ending.FINISHED):
            return self._qemu.died()
        if self._stands_still():
            return _hosts_trouble(self._console, f"QEMU did not let the guest run {when}")
        self._hung = True
        return HangError(
            f"the guest broke the connection {when}: {detail}",
            hint=f"its console: {self._console.log}",
            detail=consoles.tail(self.console()),
        )

    def _stuck(self, output: Output) -> PagelessError:
        """What to say of a command that did not end: whether the guest still answers, and what it does."""
        answers = True
        try:
            self._session.execute("true", deadline=Deadline.after(_PROBE_S))
        except (ssh.Lost, ssh.Late):
            answers = False
        if self._console.fatal is not None or self._qemu.gone:
            return self._explained(f"while it ran {brief(output.command)}", "it ended")
        if answers:
            interrogate(self._qemu, self._console)
        elif self._stands_still():
            ran = f"while it ran {brief(output.command)}"
            return _hosts_trouble(self._console, f"QEMU did not let the guest run {ran}")
        elif waits_for_network(self._qemu, self._console, self.machine.cpus):
            return _unreached(self._console, brief(output.command))
        self._hung = True
        state = "still answers" if answers else "does not answer"
        return HangError(
            f"{brief(output.command)} did not end in time; the guest {state}",
            hint=f"what its processors and tasks did: {self.directory}",
            detail=consoles.tail(self.console()),
        )

    def _stands_still(self) -> bool:
        """Whether QEMU runs no processor of the guest: no doing of the kernel's."""
        try:
            return not self.qmp.execute("query-status")["running"]
        except QemuError:
            return False


def interrogate(qemu: Qemu, console: Console) -> None:
    """Learn from a guest that hangs, without its help: registers, and its tasks by sysrq.

    Kept in the guest's directory: registers.txt, and whatever the guest prints in
    console.log.  A guest that serves no interrupt any more gets one that cannot be
    masked, if its architecture has that, and panics with the stacks of its processors.
    """
    with contextlib.suppress(QemuError):
        registers = qemu.monitor.human("info registers -a")
        (qemu.directory / "registers.txt").write_text(registers, encoding="utf-8")
        before = console.text()
        for key in _SYSRQ:
            qemu.sysrq(key)
            console.wait_quiet(Deadline.after(_SYSRQ_S))
        if console.text() == before:
            qemu.monitor.execute("inject-nmi")
            console.wait_quiet(Deadline.after(_SYSRQ_S))


def waits_for_network(qemu: Qemu, console: Console, cpus: int) -> bool:
    """Interrogate a guest that does not answer: whether it does nothing, so that nothing reaches it."""
    # Nobody answers where who would was killed for want of memory.
    if console.ssh_ended or _KILLED in console.text():
        return False
    # One that only waits still does a little now and then.
    for _ in range(_LOOKS):
        before = len(console.text())
        interrogate(qemu, console)
        if all_is_idle(console.text()[before:], cpus):
            return True
        if console.fatal is not None or qemu.gone:
            break
    return False


def _unreached(console: Console, what: str) -> QemuError:
    return _hosts_trouble(
        console, f"the network to the guest brings nothing, and the guest waits for it: {what}"
    )


def _hosts_trouble(console: Console, message: str) -> QemuError:
    return QemuError(message, hint=f"its console: {console.log}", detail=_tail(console))


def all_is_idle(told: str, cpus: int) -> bool:
    """Whether a guest, by what it told of itself when interrogated, has no work and no blocked task."""
    # On a busy host the end of what an earlier look asked for comes late: a processor may be told twice.
    if _BUSY.search(told):
        return False
    blocked, found, processors = told.rpartition("Show backtrace of all active CPUs")
    idle = _IDLE.findall(processors)
    return bool(found) and "Show Blocked State" in blocked and "task:" not in blocked and len(idle) == cpus


# A processor's idle loop in its stack, or that there is nothing else to show: drivers/tty/sysrq.c
# and lib/nmi_backtrace.c say that.
_IDLE = re.compile(r"\bdo_idle\+|skipped(?: as|:) idling")
# How mm/oom_kill.c tells it.
_KILLED = "Out of memory: Killed process"
# The head of another task's stack.
_BUSY = re.compile(r"\bCPU: \d+ .*\bComm: (?!swapper/)")
# So often, at the most, a guest that does not answer is looked at, to find it idle.
_LOOKS = 4
# Blocked tasks; the stacks of all processors.
_SYSRQ = ("w", "l")
_SYSRQ_S = 10.0


@contextlib.contextmanager
def boot(setup: Setup, directory: Path, *, deadline: Deadline) -> Iterator[QemuGuest]:
    """A guest that was booted and answers by ssh, as long as the context.

    BootError names the phase that it reached; QemuError says that QEMU did not start.
    The thread that enters must outlive the context.
    """
    with contextlib.ExitStack() as stack:
        qemu = stack.enter_context(qemus.running(setup, directory))
        console = stack.enter_context(consoles.following(qemu.console, directory / "console.log"))
        wait_booted(qemu, console, deadline)
        yield stack.enter_context(answering(setup, qemu, console, deadline=deadline))


def wait_booted(qemu: Qemu, console: Console, deadline: Deadline) -> None:
    """Return once the guest says that its ssh starts; BootError as soon as it cannot any more."""
    if console.wait(Phase.SSH, deadline):
        return
    hint = f"its whole console: {console.log}"
    if console.fatal is not None:
        console.wait_over(Deadline.after(_LAST_WORDS_S))
        raise BootError(
            f"the guest crashed while it booted: {console.title}", hint=hint, detail=console.report()
        )
    reached = console.phase.sentence
    # A console ends a moment before QEMU does.
    if console.wait_over(Deadline.after(0)):
        qemu.wait_gone(Deadline.after(_LAST_WORDS_S))
    if qemu.gone and not qemu.guest_reset:
        raise qemu.died()
    if qemu.gone:
        raise BootError(
            f"the guest reset itself while it booted: {reached}", hint=hint, detail=_tail(console)
        )
    interrogate(qemu, console)
    raise BootTimeoutError(f"the guest did not boot in time: {reached}", hint=hint, detail=_tail(console))


@contextlib.contextmanager
def answering(setup: Setup, qemu: Qemu, console: Console, *, deadline: Deadline) -> Iterator[QemuGuest]:
    """The guest behind a QEMU whose guest has ssh: connected, and with a clock and random numbers of its own.

    The random numbers of its ssh are its template's; nobody else hears what is said over it.
    """
    with contextlib.ExitStack() as stack:
        with explained(setup, qemu, console):
            seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
            qemu.type(f"{seconds} {nanoseconds} {os.urandom(_SEED_BYTES).hex()}")
            session = stack.enter_context(ssh.connected(qemu.ssh, deadline=deadline))
            if not console.wait(Phase.AWAKE, deadline):
                raise ssh.Lost(console.phase.sentence)
        guest = QemuGuest(setup, qemu, console, session)
        try:
            yield guest
        finally:
            guest.finish()


@contextlib.contextmanager
def explained(setup: Setup, qemu: Qemu, console: Console) -> Iterator[None]:
    """BootError or QemuError instead of a Lost in the context, which ends with the guest or its ssh."""
    console.when_over(qemu.hang_up)
    try:
        yield
    except ssh.Lost as error:
        if console.fatal is not None:
            console.wait_over(Deadline.after(_LAST_WORDS_S))
            raise BootError(f"the guest crashed: {console.title}", detail=console.report()) from error
        if qemu.gone:
            raise qemu.died() from error
        if waits_for_network(qemu, console, setup.machine.cpus):
            raise _unreached(console, str(error)) from error
        raise BootError(
            f"the guest does not answer by ssh: {error}",
            hint=f"its whole console: {console.log}",
            detail=_tail(console),
        ) from error


def _tail(console: Console) -> str:
    return consoles.tail(console.text())
