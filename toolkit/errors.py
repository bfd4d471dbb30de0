# SPDX-License-Identifier: GPL-2.0-only
"""Every error this package raises on purpose, by whose fault it is.

::

    PagelessError
    ├── InputError               the user's input                     exit 2
    │   ├── DeclarationError     a TOML declaration or a workload file
    │   ├── UnknownNameError     a name that is not declared
    │   ├── SourceError          a kernel tree that is none
    │   ├── SeriesError          a series that is malformed
    │   │   └── ApplyError       a patch that does not apply
    │   └── ConfigError          fragments that conflict or are dropped
    ├── ExpectationError         an expectation failed                exit 1
    ├── GuestError               the guest's kernel crashed or hung   exit 3
    │   ├── BootError            it never answered
    │   │   └── BootTimeoutError nor did it crash
    │   ├── CrashError           panic, oops, reboot
    │   ├── HangError            it stopped answering
    │   └── CommandError         a command in the guest failed
    └── HostError                the host's trouble                   exit 125
        ├── MissingToolError     a program or package is not installed
        ├── ProgramError         a program on the host failed
        ├── DeadlineError        a program on the host took too long
        ├── BuildError           a kernel or guest program did not compile
        ├── CaptureError         what a guest's file said is of no form we know
        ├── StoreError           the cache or the state cannot be written
        ├── TraceError           a trace that lost events, or cannot have happened
        ├── UnreachedError       what a workload is there for never happened
        └── QemuError            QEMU died or refused its command line

The exit status follows `git bisect run`: 1-124 blame the commit, 125 means
"cannot test this one".  An interrupt (Ctrl-C, SIGTERM, SIGHUP) exits 130.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

# So much of a command has room in a message.
_BRIEF = 120


class PagelessError(Exception):
    """What went wrong and where; `hint` says what to do next.

    `detail` holds lines worth showing below the message (a compiler's error,
    the tail of a console), or is empty.
    """

    exit_status: ClassVar[int] = 125

    def __init__(self, message: str, *, hint: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.detail = detail


class InputError(PagelessError):
    """The user's input cannot be worked with."""

    exit_status = 2


class DeclarationError(InputError):
    """A declaration file is wrong, at `path` (and `line`, counted from 1, if known)."""

    def __init__(self, path: Path, message: str, *, line: int | None = None, hint: str = "") -> None:
        where = str(path) if line is None else f"{path}:{line}"
        super().__init__(f"{where}: {message}", hint=hint)
        self.path = path
        self.line = line


class UnknownNameError(InputError):
    """A name that is not declared; the hint names the nearest one, or all."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.known = tuple(sorted(known))
        near = difflib.get_close_matches(name, self.known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(self.known) or 'none'}"
        super().__init__(f"unknown {kind} {name!r}", hint=hint)


class SourceError(InputError):
    """A path or package that holds no kernel tree."""


class SeriesError(InputError):
    """A series or one of its patches is malformed."""


class ApplyError(SeriesError):
    """A patch does not apply: `patch`, `file` and `hunk` (its header) say which."""

    def __init__(self, patch: str, file: str, hunk: str, *, hint: str = "", detail: str = "") -> None:
        where = f"{file}, hunk {hunk}" if hunk else file
        super().__init__(f"{patch} does not apply: {where}", hint=hint, detail=detail)
        self.patch = patch
        self.file = file
        self.hunk = hunk


class ConfigError(InputError):
    """Configuration fragments conflict, or symbols they ask for were dropped."""


class ExpectationError(PagelessError):
    """Something that must hold did not."""

    exit_status = 1


class GuestError(PagelessError):
    """The guest's kernel crashed, hung or was lost."""

    exit_status = 3


class BootError(GuestError):
    """The guest never answered; the message names the phase that it reached."""


class BootTimeoutError(BootError):
    """The guest neither answered in time nor crashed."""


class CrashError(GuestError):
    """The guest's kernel panicked, oopsed or rebooted; `detail` is its report."""


class HangError(GuestError):
    """The guest stopped answering although QEMU runs."""


def brief(command: str) -> str:
    """A command, quoted, of a script no more than its beginning, as a message has room for."""
    return repr(textwrap.shorten(command, _BRIEF, placeholder=" ..."))


class CommandError(GuestError):
    """A command in the guest ended with a status that was not expected."""

    def __init__(self, command: str, status: int, output: str) -> None:
        ended = f"ended with status {status}" if status else "did not say what it should"
        super().__init__(f"in the guest, {brief(command)} {ended}", detail=output[-4000:])
        self.command = command
        self.status = status
        self.output = output


class HostError(PagelessError):
    """Trouble of the host: never to be blamed on the kernel under test."""

    exit_status = 125


class MissingToolError(HostError):
    """A program is not installed; the hint is the command that installs it."""


class ProgramError(HostError):
    """A program on the host ended with a status that was not expected."""


class DeadlineError(HostError):
    """A program on the host did not end in time."""


class BuildError(HostError):
    """A kernel or a guest program did not compile; `detail` holds the compiler's errors."""


class CaptureError(HostError):
    """What was captured cannot be read: another form than the parser knows, or a part is missing.

    It is ours to repair, so the kernel under test is not blamed.
    """

    def __init__(self, where: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"{where}: {message}", hint=hint)
        self.where = where


class StoreError(HostError):
    """The cache or the state directory cannot be read or written."""


class TraceError(HostError):
    """A trace that lost events, or that tells what cannot have happened."""


class UnreachedError(HostError):
    """What a workload is there for never happened: it exercised nothing."""


class QemuError(HostError):
    """QEMU died early or refused its command line; `detail` holds its stderr."""
