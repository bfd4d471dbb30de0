# SPDX-License-Identifier: GPL-2.0-only
"""An ssh server in this process that runs commands on this host, for one connection."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paramiko import common

# A command that the server itself hangs over for a while, instead of starting it.
HANG = "hang"


def new_key() -> paramiko.Ed25519Key:
    key = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return paramiko.Ed25519Key(file_obj=io.StringIO(key.decode()))


@dataclass
class Server:
    port: int
    host_key: str
    transport: paramiko.Transport | None = None


class _Rules(paramiko.ServerInterface):
    def __init__(self, allowed: str) -> None:
        self.allowed = allowed

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        known = username == "root" and key.get_base64() == self.allowed
        return common.AUTH_SUCCESSFUL if known else common.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if command.decode() == HANG:
            time.sleep(3.0)
        threading.Thread(target=_execute, args=(channel, command.decode()), daemon=True).start()
        return True


def _execute(channel: paramiko.Channel, command: str) -> None:
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
    channel.close()


@contextlib.contextmanager
def serving(allowed: str) -> Iterator[Server]:
    """A server that lets `root` in with the public key `allowed` (base64)."""
    key = new_key()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(listener.getsockname()[1], key.get_base64())

        def accept() -> None:
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                stream, _ = listener.accept()
                server.transport = paramiko.Transport(stream)
                server.transport.add_server_key(key)
                server.transport.start_server(server=_Rules(allowed))

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            if server.transport is not None:
                server.transport.close()
                server.transport.join()
