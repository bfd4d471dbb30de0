# SPDX-License-Identifier: GPL-2.0-only
"""The only place that starts programs: argv lists, a deadline, stdin closed, a group of their own."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from toolkit.deadline import Deadline
from toolkit.errors import DeadlineError, MissingToolError, ProgramError

logger = logging.getLogger(__name__)

Argument = str | Path
# A program that start() started, and what it takes as a stream to hand one of its own to us.
Process = subprocess.Popen[bytes]
PIPE = subprocess.PIPE

# Programs under way, so that an interrupt can end them from another thread.
_running: set[subprocess.Popen[bytes]] = set()
_interrupted = threading.Event()

# Debian package of each program that is not named like it.
_PACKAGES: Mapping[str, str] = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "ld": "binutils",
    "readelf": "binutils",
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-system-x86_64": "qemu-system-x86",
    "setpriv": "util-linux",
    "xz": "xz-utils",
}

# A cross tool, "aarch64-linux-gnu-gcc": its package is named the other way round.
_CROSS_TOOL = re.compile(r"(\w+-linux-gnu)-(gcc|ld)")


@dataclass(frozen=True)
class Completed:
    """A program that ended: `stdout` and `stderr` as text, unless `log` took them."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str


def package_of(tool: str) -> str:
    """The Debian package that has a program: LLVM's linker "ld.lld-14" is in "lld-14"."""
    cross = _CROSS_TOOL.fullmatch(tool)
    if cross is not None:
        return f"{_PACKAGES.get(cross[2], cross[2])}-{cross[1].replace('_', '-')}"
    return _PACKAGES.get(tool, tool.removeprefix("ld."))


def require(tool: str) -> str:
    """The path of `tool`, or MissingToolError with the command that installs it."""
    found = shutil.which(tool)
    if found is None:
        raise MissingToolError(
            f"{tool} is not installed",
            hint=f"apt-get install {package_of(tool)}, or: pageless doctor --fix",
        )
    return found


def run(
    argv: Sequence[Argument],
    *,
    deadline: Deadline,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    log: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    ok: Sequence[int] | None = (0,),
) -> Completed:
    """Run a program to its end.

    `env` is laid over the environment.  With `log`, stdout and stderr are appended
    there instead of being kept; with `on_line` too, each line is also handed on as
    it comes.  A status outside `ok` raises ProgramError (None accepts every status);
    the deadline, DeadlineError; an absent program, MissingToolError.  Whatever ends
    the wait early takes the program's whole process group with it.
    """
    with contextlib.ExitStack() as stack:
        sink: IO[bytes] | int = subprocess.PIPE
        if log is not None and on_line is None:
            sink = stack.enter_context(log.open("ab"))
        merged = log is not None or on_line is not None
        process = stack.enter_context(
            start(
                argv,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=sink,
                stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            )
        )
        try:
            if on_line is not None:
                out, err = _follow(process, deadline, log, on_line), b""
            else:
                raw_out, raw_err = process.communicate(stdin, timeout=deadline.remaining_s)
                out, err = raw_out or b"", raw_err or b""
        except subprocess.TimeoutExpired:
            raise DeadlineError(
                f"{shlex.join(process.args)} did not end in time",  # type: ignore[arg-type]  # always a list here
                hint="" if log is None else f"its output: {log}",
            ) from None
    done = Completed(
        argv=tuple(map(str, argv)),
        status=process.returncode,
        stdout=out.decode("utf-8", "replace"),
        stderr=err.decode("utf-8", "replace"),
    )
    if ok is not None and done.status not in ok:
        raise ProgramError(
            f"{shlex.join(done.argv)} ended with status {done.status}",
            hint="" if log is None else f"its output: {log}",
            detail=(done.stderr or done.stdout)[-4000:] if log is None else _tail(log),
        )
    return done


@contextlib.contextmanager
def start(
    argv: Sequence[Argument],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    stdout: IO[bytes] | int = subprocess.DEVNULL,
    stderr: IO[bytes] | int = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs beside us for as long as the context; killed with its group at the end.

    The kernel kills it too when the thread that started it is gone (setpriv
    --pdeathsig), so that not even SIGKILL on us leaves it behind.
    """
    words = [str(word) for word in argv]
    require(words[0])
    if _interrupted.is_set():
        raise KeyboardInterrupt
    logger.debug("%s%s", "" if cwd is None else f"cd {shlex.quote(str(cwd))} && ", shlex.join(words))
    process = subprocess.Popen(
        [require("setpriv"), "--pdeathsig", "KILL", "--", *words],
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
        start_new_session=True,
    )
    process.args = words
    _running.add(process)
    try:
        yield process
    finally:
        _running.discard(process)
        _end(process)


def interrupted() -> bool:
    """Whether end_all() was called: what fails from then on fails because of it."""
    return _interrupted.is_set()


def end_all() -> None:
    """Kill every program under way and refuse to start more: what waits for one unwinds at once."""
    _interrupted.set()
    for process in list(_running):
        _kill(process)


def wait(process: Process, deadline: Deadline) -> int | None:
    """The status with which a started program ended, or None if it still runs at the deadline."""
    if process.poll() is not None:
        return process.returncode
    # Popen's own wait with a time-out looks again and again.
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        # Another thread waited, too, and was first.
        return process.wait()
    try:
        ended, _, _ = select.select([descriptor], [], [], deadline.remaining_s)
    finally:
        os.close(descriptor)
    # Of one that ended, not poll(): that tells nothing while another thread asks.
    return process.wait() if ended else None


def replace_process(argv: Sequence[Argument]) -> None:
    """Become another program (an interactive one that must own the terminal)."""
    words = [str(word) for word in argv]
    os.execv(require(words[0]), words)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the process group, then reap."""
    _kill(process)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _follow(
    process: subprocess.Popen[bytes], deadline: Deadline, log: Path | None, on_line: Callable[[str], None]
) -> bytes:
    """Hand on each line of output; returns all of it unless `log` keeps it."""
    assert process.stdout is not None
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        _kill(process)

    timer = threading.Timer(deadline.remaining_s, expire)
    timer.start()
    kept: list[bytes] = []
    try:
        with contextlib.ExitStack() as stack:
            sink = None if log is None else stack.enter_context(log.open("ab"))
            for line in process.stdout:
                if sink is None:
                    kept.append(line)
                else:
                    sink.write(line)
                on_line(line.decode("utf-8", "replace").rstrip("\n"))
        process.wait()
    finally:
        timer.cancel()
    if expired.is_set():
        raise subprocess.TimeoutExpired(process.args, 0)
    return b"".join(kept)


def _tail(log: Path, characters: int = 4000) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-characters:]
