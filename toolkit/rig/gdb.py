# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's gdbstub: stops processors at an instruction, lets some of them go on, reads their registers.

A client of the small part of gdb's remote protocol (appendix E of its manual) that this
takes.  The libraries that speak it drive a gdb process, or bring a debugger of their own.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from toolkit.deadline import Deadline
from toolkit.errors import QemuError
from toolkit.rig.monitor import Monitor

# What the stub answers at once, it answers within this on a busy host.
_ANSWER_S = 60.0
_CHUNK = 1 << 16
_INTERRUPT = b"\x03"
_ESCAPE = 0x7D

_SIGTRAP = 5


@dataclass(frozen=True)
class Stop:
    """All processors stand still: `cpu`, counted from 0, is the one that made them."""

    signal: int
    cpu: int

    @property
    def at_breakpoint(self) -> bool:
        """At a breakpoint or after a step, else we interrupted it."""
        return self.signal == _SIGTRAP


class Gone(QemuError):
    """The stub hung up: QEMU has ended."""


class Stub:
    """A connection to the stub.  Processors are counted from 0; QemuError if it refuses something.

    Everything but `interrupt` and `wait_stop` is for a guest that stands still.
    """

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._received = bytearray()
        self.running = False

    def insert(self, address: int) -> None:
        """Stop whichever processor is about to execute the instruction there."""
        self._must(f"Z1,{address:x},1")

    def remove(self, address: int) -> None:
        self._must(f"z1,{address:x},1")

    def resume(self, cpus: Iterable[int]) -> None:
        """Let these processors run on; the others are held where they are."""
        self._send("vCont;" + ";".join(f"c:{cpu + 1:x}" for cpu in cpus))
        self.running = True

    def step(self, cpu: int) -> Stop:
        """Execute one instruction on one processor, which takes no interrupt meanwhile."""
        self._send(f"vCont;s:{cpu + 1:x}")
        self.running = True
        return self._expect_stop()

    def interrupt(self) -> Stop:
        """Stop all processors that run."""
        self._put(_INTERRUPT)
        return self._expect_stop()

    def wait_stop(self, deadline: Deadline) -> Stop | None:
        """The next stop, None at the deadline."""
        packet = self._receive(deadline)
        if packet is None:
            return None
        self.running = False
        return parse_stop(packet)

    def register(self, cpu: int, number: int) -> int:
        """A general register of a processor, by its number in the architecture's description."""
        self._must(f"Hg{cpu + 1:x}")
        answer = self._ask(f"p{number:x}")
        if len(answer) != 16:
            raise QemuError(f"QEMU's gdbstub knows no register {number}: {answer!r}")
        return int.from_bytes(bytes.fromhex(answer.decode()), "little")

    def registers(self, cpu: int) -> bytes:
        """All registers of a processor as they are sent: the general ones first, by number, 8 bytes each."""
        self._must(f"Hg{cpu + 1:x}")
        return bytes.fromhex(self._ask("g").decode())

    def set_register(self, cpu: int, number: int, value: int) -> None:
        self._must(f"Hg{cpu + 1:x}")
        self._must(f"P{number:x}={(value % 2**64).to_bytes(8, 'little').hex()}")

    def memory(self, cpu: int, address: int, length: int) -> bytes:
        """Bytes at a virtual address as that processor sees it."""
        self._must(f"Hg{cpu + 1:x}")
        answer = self._ask(f"m{address:x},{length:x}")
        if answer.startswith(b"E"):
            raise QemuError(f"the guest has no memory at {address:#x}")
        return bytes.fromhex(answer.decode())

    def set_memory(self, cpu: int, address: int, data: bytes) -> None:
        """Write bytes to a virtual address as that processor sees it."""
        self._must(f"Hg{cpu + 1:x}")
        if self._ask(f"M{address:x},{len(data):x}:{data.hex()}").startswith(b"E"):
            raise QemuError(f"the guest has no memory at {address:#x}")

    def start(self) -> None:
        """Agree on how to talk; the guest stands still from then on."""
        # The connection itself stopped the guest, which the stub tells only to those who ask.
        self._ask("qSupported:vContSupported+")
        if b"vCont" not in self._ask("vCont?"):
            raise QemuError("QEMU's gdbstub cannot resume single processors")
        # Single registers can be had only by those who have read the description of them all.
        self._ask("qXfer:features:read:target.xml:0,fff")
        parse_stop(self._ask("?"))

    def detach(self) -> None:
        """Forget all breakpoints and let every processor go on."""
        if self.running:
            self.interrupt()
        self._must("D")

    def _must(self, packet: str) -> None:
        answer = self._ask(packet)
        if answer != b"OK":
            raise QemuError(f"QEMU's gdbstub refused {packet[:40]!r}: {answer.decode('ascii', 'replace')!r}")

    def _ask(self, packet: str) -> bytes:
        self._send(packet)
        answer = self._receive(Deadline.after(_ANSWER_S))
        if answer is None:
            raise QemuError(f"QEMU's gdbstub did not answer {packet[:40]!r} in time")
        return answer

    def _expect_stop(self) -> Stop:
        stop = self.wait_stop(Deadline.after(_ANSWER_S))
        if stop is None:
            raise QemuError("QEMU's gdbstub did not stop the guest in time")
        return stop

    def _send(self, packet: str) -> None:
        self._put(frame(packet.encode()))

    def _put(self, data: bytes) -> None:
        try:
            self._stream.sendall(data)
        except OSError as error:
            raise Gone(f"QEMU was gone when its gdbstub was asked: {error}") from error

    def _receive(self, deadline: Deadline) -> bytes | None:
        """The next packet, None at the deadline."""
        while True:
            taken = take(self._received)
            if taken is not None:
                # Until then the stub takes nothing but a packet.
                self._put(b"+")
                return taken
            ready, _, _ = select.select([self._stream], [], [], deadline.remaining_s)
            if not ready:
                return None
            try:
                data = self._stream.recv(_CHUNK)
            except OSError as error:
                raise Gone(f"QEMU's gdbstub broke the connection: {error}") from error
            if not data:
                raise Gone("QEMU's gdbstub broke the connection")
            self._received += data


@contextlib.contextmanager
def attached(monitor: Monitor) -> Iterator[Stub]:
    """The stub of a running QEMU, which stands still; it runs on, without breakpoints, at the end."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            monitor.give("gdb", theirs)
        address = {"type": "fd", "data": {"str": "gdb"}}
        monitor.execute(
            "chardev-add",
            id="gdb",
            backend={"type": "socket", "data": {"addr": address, "server": False}},
        )
        told = monitor.human("gdbserver chardev:gdb")
        if "Waiting for gdb connection" not in told:
            raise QemuError(f"QEMU starts no gdbstub: {told.strip()}")
        stub = Stub(ours)
        try:
            stub.start()
            yield stub
            stub.detach()
        except BaseException:
            # Whatever went wrong, nobody is held for longer; QEMU may be gone.
            with contextlib.suppress(QemuError):
                stub.detach()
            raise
        finally:
            with contextlib.suppress(QemuError):
                monitor.human("gdbserver none")
                monitor.execute("chardev-remove", id="gdb")


def frame(payload: bytes) -> bytes:
    """A packet as it is sent."""
    return b"$" + payload + f"#{sum(payload) & 0xFF:02x}".encode()


def take(received: bytearray) -> bytes | None:
    """Take the first whole packet out of what was received; None if there is none yet.

    QemuError for one whose sum is wrong: the socket loses nothing, so that is no packet.
    """
    begin = received.find(b"$")
    end = received.find(b"#", begin)
    if begin < 0 or end < 0 or len(received) < end + 3:
        return None
    payload, told = bytes(received[begin + 1 : end]), bytes(received[end + 1 : end + 3])
    del received[: end + 3]
    if int(told, 16) != sum(payload) & 0xFF:
        raise QemuError(f"QEMU's gdbstub sent a packet with a wrong sum: {payload[:40]!r}")
    return _expanded(payload)


def _expanded(payload: bytes) -> bytes:
    """A packet's content without escapes and runs."""
    content = bytearray()
    at = 0
    while at < len(payload):
        byte = payload[at]
        if byte == _ESCAPE:
            at += 1
            content.append(payload[at] ^ 0x20)
        elif byte == ord("*") and content:
            at += 1
            content += content[-1:] * (payload[at] - 29)
        else:
            content.append(byte)
        at += 1
    return bytes(content)


def parse_stop(packet: bytes) -> Stop:
    """A stop reply: "T05thread:02;"."""
    text = packet.decode("ascii", "replace")
    fields = dict(field.partition(":")[::2] for field in text[3:].split(";") if field)
    if text[:1] != "T" or "thread" not in fields:
        raise QemuError(f"QEMU's gdbstub told of no stop: {text[:40]!r}")
    return Stop(int(text[1:3], 16), int(fields["thread"].rpartition(".")[2], 16) - 1)
