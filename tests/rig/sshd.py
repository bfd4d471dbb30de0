# SPDX-License-Identifier: GPL-2.0-only
"""An ssh server in this process that runs commands on this host, for one connection."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import paramiko
from paramiko import common

# A command that the server itself hangs over for a while, instead of starting it.
HANG = "hang"


class _Transport(paramiko.Transport):
    """`accepted` is released for each request of a channel whose reply was sent."""

    def __init__(self, stream: socket.socket) -> None:
        super().__init__(stream)
        self.accepted = threading.Semaphore(0)

    def _send_user_message(self, message: paramiko.Message) -> None:
        super()._send_user_message(message)  # type: ignore[misc]
        if message.asbytes().startswith(common.cMSG_CHANNEL_SUCCESS):
            self.accepted.release()


class _Rules(paramiko.ServerInterface):
    def __init__(self, transport: _Transport, *, open_to_all: bool) -> None:
        self.transport = transport
        self.open_to_all = open_to_all

    def check_auth_none(self, username: str) -> int:
        return common.AUTH_SUCCESSFUL if self.open_to_all and username == "root" else common.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if command.decode().endswith(HANG):
            time.sleep(3.0)
        run = (channel, command.decode(), self.transport.accepted)
        threading.Thread(target=_execute, args=run, daemon=True).start()
        return True


def _execute(channel: paramiko.Channel, command: str, accepted: threading.Semaphore) -> None:
    """Run one command and copy its three streams, none waiting for another."""
    process = subprocess.Popen(
        ["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None

    def feed() -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError), process.stdin:
            while data := channel.recv(1 << 15):
                process.stdin.write(data)

    def copy_errors() -> None:
        assert process.stderr is not None
        with contextlib.suppress(OSError):
            while data := os.read(process.stderr.fileno(), 1 << 15):
                channel.sendall_stderr(data)

    copiers = [threading.Thread(target=target, daemon=True) for target in (feed, copy_errors)]
    for copier in copiers:
        copier.start()
    with contextlib.suppress(OSError), process.stdout, process.stderr:
        while data := os.read(process.stdout.fileno(), 1 << 15):
            channel.sendall(data)
        copiers[1].join()
        status = process.wait()
        if status >= 0:
            channel.send_exit_status(status)
    process.kill()
    process.wait()
    # The reply to the request must not come after the close.
    accepted.acquire()
    channel.close()


@contextlib.contextmanager
def serving(*, open_to_all: bool = True) -> Iterator[tuple[socket.socket, paramiko.Transport]]:
    """A server at the other end of a socket, which lets `root` in without a key, or nobody."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = _Transport(theirs)
        transport.add_server_key(paramiko.ECDSAKey.generate())
        transport.start_server(threading.Event(), _Rules(transport, open_to_all=open_to_all))
        try:
            yield ours, transport
        finally:
            transport.close()
            transport.join()
