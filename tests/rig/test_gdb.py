# SPDX-License-Identifier: GPL-2.0-only
"""gdb's remote protocol, against a stub in this process that answers as QEMU 7.2 was seen to."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping

import pytest

from toolkit.deadline import Deadline
from toolkit.errors import QemuError
from toolkit.rig import gdb
from toolkit.rig.gdb import Gone, Stop, Stub

SOON_S = 20.0

ANSWERS = {
    "qSupported:vContSupported+": "PacketSize=1000;qXfer:features:read+;vContSupported+",
    "vCont?": "vCont;c;C;s;S",
    "qXfer:features:read:target.xml:0,fff": "m<target/>",
    "?": "T05thread:01;",
    "Z1,ffffffff81000000,1": "OK",
    "z1,ffffffff81000000,1": "OK",
    "Hg2": "OK",
    "p10": "efcdab8967452301",
    "P0=f0ffffffffffffff": "OK",
    "m1000,4": "0* ff",
    "mdead,4": "E14",
    "D": "OK",
    # Resuming is not answered, the stop that follows it is.
    "vCont;c:1": "T05thread:01;",
    "vCont;s:2": "T05thread:02;",
}


@contextlib.contextmanager
def talking(answers: Mapping[str, str]) -> Iterator[tuple[Stub, list[str]]]:
    """A client, and what the stub behind it was asked."""
    ours, theirs = socket.socketpair()
    asked: list[str] = []

    def answer() -> None:
        received = bytearray()
        with theirs:
            while data := theirs.recv(4096):
                received += data
                while (packet := gdb.take(received)) is not None:
                    asked.append(packet.decode())
                    known = answers.get(asked[-1])
                    if known is None:
                        return
                    theirs.sendall(b"+" + gdb.frame(known.encode()))

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with ours:
            yield Stub(ours), asked
    finally:
        thread.join()


def test_registers_memory_and_breakpoints_as_qemu_tells_them() -> None:
    with talking(ANSWERS) as (stub, asked):
        stub.start()
        stub.insert(0xFFFFFFFF81000000)
        assert stub.register(1, 16) == 0x0123456789ABCDEF
        stub.set_register(1, 0, -16)
        assert stub.memory(1, 0x1000, 4) == b"\0\0\xff"
        stub.remove(0xFFFFFFFF81000000)
        stub.detach()
    assert asked[-1] == "D"


def test_only_the_processors_that_are_named_are_resumed() -> None:
    with talking(ANSWERS) as (stub, asked):
        stub.resume([0])
        assert stub.wait_stop(Deadline.after(SOON_S)) == Stop(5, 0)
        assert stub.step(1) == Stop(5, 1)
    assert asked == ["vCont;c:1", "vCont;s:2"]


def test_what_is_refused_is_an_error() -> None:
    with talking({**ANSWERS, "Z1,ffffffff81000000,1": "E22", "p10": ""}) as (stub, _):
        with pytest.raises(QemuError, match="refused 'Z1,ffffffff81000000,1': 'E22'"):
            stub.insert(0xFFFFFFFF81000000)
        with pytest.raises(QemuError, match="no register 16"):
            stub.register(1, 16)
        with pytest.raises(QemuError, match="no memory at 0xdead"):
            stub.memory(1, 0xDEAD, 4)


def test_a_stub_that_cannot_resume_single_processors_is_refused() -> None:
    with talking({**ANSWERS, "vCont?": ""}) as (stub, _), pytest.raises(QemuError, match="single processors"):
        stub.start()


def test_a_stub_that_hangs_up_is_told_apart() -> None:
    with talking({}) as (stub, _), pytest.raises(Gone):
        stub.start()


def test_no_stop_by_the_deadline_is_none() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert Stub(ours).wait_stop(Deadline.after(0.01)) is None


def test_packets_are_taken_whole_with_escapes_and_runs_undone() -> None:
    received = bytearray(b"++" + gdb.frame(b"a}\x03b0* ") + b"$O")
    assert gdb.take(received) == b"a#b0000"
    assert gdb.take(received) is None
    received += b"K#9a"
    assert gdb.take(received) == b"OK"
    with pytest.raises(QemuError, match="wrong sum"):
        gdb.take(bytearray(b"$OK#00"))


@pytest.mark.parametrize(
    ("packet", "stop"),
    [(b"T05thread:02;", Stop(5, 1)), (b"T02thread:01;", Stop(2, 0)), (b"T05thread:p01.02;", Stop(5, 1))],
)
def test_a_stop_tells_who_and_why(packet: bytes, stop: Stop) -> None:
    assert gdb.parse_stop(packet) == stop
    assert stop.at_breakpoint == (stop.signal == 5)


def test_what_is_no_stop_is_an_error() -> None:
    for packet in (b"W00", b"OK", b"T05"):
        with pytest.raises(QemuError, match="told of no stop"):
            gdb.parse_stop(packet)


def test_whatever_is_asked_of_a_stub_that_is_gone_is_told_as_that() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        stub = Stub(ours)
        for ask in (stub.interrupt, stub.detach, lambda: stub.resume([0])):
            with pytest.raises(Gone):
                ask()
