# SPDX-License-Identifier: GPL-2.0-only
"""Commands in a guest over one ssh connection; the only place that knows paramiko.

The connection is a socket that nobody but this process and the guest's QEMU has: neither side asks
the other who it is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import signal
import socket
import struct
import sys
import termios
import threading
import tty
from collections.abc import Iterator

import paramiko

from toolkit.deadline import Deadline
from toolkit.rig.guest import Output

# paramiko tells in its own log what it also raises.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

_CHUNK = 1 << 16
# Less than any server's first window: so much can be sent before anything is read.
_INLINE = 1 << 14
# paramiko joins the wake-ups of a channel's two streams without a lock, and can lose one.
_LOOK_AGAIN_S = 0.1


class Lost(Exception):
    """The connection broke or was never made; the guest says why, if anything does."""


class Late(Exception):
    """The deadline passed; `output` is what had come until then."""

    def __init__(self, output: Output) -> None:
        super().__init__(output.command)
        self.output = output


class Session:
    """One connection.  Raises Lost when it breaks and Late at a deadline, nothing else.

    There are no keep-alives: a guest that dies is seen on its console and by QEMU's end,
    and one that hangs by the deadline of the command, so that an idle guest stays idle.
    """

    def __init__(self, transport: paramiko.Transport) -> None:
        self._transport = transport

    def execute(self, command: str, *, deadline: Deadline, stdin: bytes = b"") -> Output:
        """Run a shell command to its end; a status of -1 means that a signal ended it."""
        stdout, stderr = bytearray(), bytearray()
        try:
            with contextlib.closing(self._channel(deadline)) as channel:
                with _closed_at(deadline, channel):
                    channel.exec_command(command if stdin else f"exec </dev/null\n{command}")
                with _sending(channel, stdin):
                    in_time = _collect(channel, stdout, stderr, deadline)
                    if not in_time or not channel.status_event.wait(deadline.remaining_s):
                        raise TimeoutError
                status = channel.recv_exit_status()
        except TimeoutError:
            raise Late(Output(command, -1, bytes(stdout), bytes(stderr))) from None
        except (paramiko.SSHException, OSError, EOFError) as error:
            if deadline.passed and self._transport.is_active():
                raise Late(Output(command, -1, bytes(stdout), bytes(stderr))) from None
            raise Lost(str(error)) from error
        if status == -1 and not self._transport.is_active():
            raise Lost("the connection broke while a command ran")
        return Output(command, status, bytes(stdout), bytes(stderr))

    def interact(self, *, deadline: Deadline) -> int:
        """A login shell on our terminal, from the deadline for its start to its end; its exit status."""
        size = shutil.get_terminal_size()
        try:
            with contextlib.closing(self._channel(deadline)) as channel:
                channel.get_pty(os.environ.get("TERM", "vt100"), size.columns, size.lines)
                channel.invoke_shell()
                with _raw_terminal(channel):
                    _relay(channel)
                status = channel.recv_exit_status()
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise Lost(str(error)) from error
        if not self._transport.is_active():
            raise Lost("the connection broke")
        return status

    def abandon(self) -> None:
        """Break the connection: whoever waits on it gets Lost at once."""
        self._transport.close()

    def _channel(self, deadline: Deadline) -> paramiko.Channel:
        try:
            return self._transport.open_session(timeout=deadline.remaining_s)
        except paramiko.SSHException:
            if deadline.passed and self._transport.is_active():
                raise TimeoutError from None
            raise


@contextlib.contextmanager
def connected(stream: socket.socket, *, deadline: Deadline) -> Iterator[Session]:
    """A session as root with the server at the other end of `stream`, which lets everybody in."""
    with contextlib.ExitStack() as stack:
        try:
            transport = paramiko.Transport(stream)
            stack.callback(transport.close)
            # Its own limits suit servers that are not emulated on a busy host.
            transport.banner_timeout = transport.handshake_timeout = deadline.remaining_s
            transport.start_client(timeout=deadline.remaining_s)
            transport.auth_timeout = deadline.remaining_s
            transport.auth_none("root")
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise Lost(str(error) or type(error).__name__) from error
        yield Session(transport)


def greeting(stream: socket.socket, *, deadline: Deadline) -> bytes:
    """All that dropbear says before it is spoken to: its version and what it can do.

    RFC 4253 has the formats, in 4.2, 6 and 7.1.
    """
    said = bytearray()

    def read(count: int) -> bytes:
        """The next bytes."""
        begin = len(said)
        while len(said) < begin + count:
            stream.settimeout(deadline.remaining_s)
            more = stream.recv(begin + count - len(said))
            if not more:
                raise Lost("the server hung up before it had said what it can do")
            said.extend(more)
        return bytes(said[begin:])

    try:
        while read(1) != b"\n":
            pass
        (length,) = struct.unpack(">I", read(4))
        read(length)
    except OSError as error:
        raise Lost(f"the server does not say what it can do: {error}") from error
    return bytes(said)


@contextlib.contextmanager
def _closed_at(deadline: Deadline, channel: paramiko.Channel) -> Iterator[None]:
    """Close a channel at the deadline, for waits that take none themselves."""

    def close() -> None:
        # The connection may be gone by then, and whoever waits on it knows.
        with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
            channel.close()

    timer = threading.Timer(deadline.remaining_s, close)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def _sending(channel: paramiko.Channel, data: bytes) -> Iterator[None]:
    """Send a command's input, if it has any, and its end; by a thread if that must not wait for output
    to be read.

    paramiko sends the end of input without the channel's lock, so that it may come behind the answer to a
    command that has ended, and dropbear ends the connection then ("EOF for unknown channel").  So it is
    sent to nobody but who waits for it.
    """

    def send() -> None:
        # The command may end without having read everything.
        with contextlib.suppress(OSError):
            channel.sendall(data)
            channel.shutdown_write()

    if len(data) <= _INLINE:
        if data:
            send()
        yield
        return
    sender = threading.Thread(target=send, name="ssh-stdin", daemon=True)
    sender.start()
    try:
        yield
    finally:
        channel.close()
        sender.join()


def _collect(channel: paramiko.Channel, stdout: bytearray, stderr: bytearray, deadline: Deadline) -> bool:
    """Read both streams to their end; whether that was before the deadline."""
    descriptor = channel.fileno()
    while True:
        while channel.recv_ready():
            stdout += channel.recv(_CHUNK)
        while channel.recv_stderr_ready():
            stderr += channel.recv_stderr(_CHUNK)
        if channel.eof_received or channel.closed:
            # What came between the last look and the end.
            while rest := channel.recv(_CHUNK):
                stdout += rest
            while rest := channel.recv_stderr(_CHUNK):
                stderr += rest
            return True
        if deadline.passed:
            return False
        select.select([descriptor], [], [], min(deadline.remaining_s, _LOOK_AGAIN_S))


@contextlib.contextmanager
def _raw_terminal(channel: paramiko.Channel) -> Iterator[None]:
    """Our terminal hands every key on, and the guest's has its size, until the context is left."""
    keyboard = sys.stdin.fileno()

    def resize(*_: object) -> None:
        size = shutil.get_terminal_size()
        channel.resize_pty(size.columns, size.lines)

    saved = termios.tcgetattr(keyboard)
    before = signal.signal(signal.SIGWINCH, resize)
    try:
        tty.setraw(keyboard)
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, saved)
        signal.signal(signal.SIGWINCH, before)


def _relay(channel: paramiko.Channel) -> None:
    """Copy keys and output between our terminal and a channel until the channel ends."""
    keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
    sources = [channel.fileno(), keyboard]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if channel.fileno() in ready:
            output = channel.recv(_CHUNK)
            if not output:
                return
            os.write(screen, output)
        elif keyboard in ready:
            keys = os.read(keyboard, _CHUNK)
            if keys:
                channel.sendall(keys)
            else:
                sources.remove(keyboard)
                channel.shutdown_write()
