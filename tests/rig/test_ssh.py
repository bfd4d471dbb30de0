# SPDX-License-Identifier: GPL-2.0-only
"""Commands over ssh, against a server in this process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.rig.sshd import HANG, serving
from toolkit.deadline import Deadline
from toolkit.rig import ssh
from toolkit.rig.ssh import Late, Lost, Session

SOON_S = 20.0
# More than any window or pipe between here and there holds.
MUCH = bytes(range(256)) * (1 << 14)


@pytest.fixture
def session() -> Iterator[Session]:
    with (
        serving() as (stream, _),
        ssh.connected(stream, deadline=Deadline.after(SOON_S)) as made,
    ):
        yield made


def test_a_command_leaves_its_status_and_both_streams_apart(session: Session) -> None:
    done = session.execute("echo out; echo err >&2; exit 3", deadline=Deadline.after(SOON_S))
    assert (done.status, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


def test_a_command_sees_the_end_of_its_input(session: Session) -> None:
    assert session.execute("cat", deadline=Deadline.after(SOON_S)).stdout == b""
    assert session.execute("cat", deadline=Deadline.after(SOON_S), stdin=b"few").stdout == b"few"


def test_much_goes_in_and_out_at_once_without_a_deadlock(session: Session) -> None:
    done = session.execute("tee /dev/stderr", deadline=Deadline.after(3 * SOON_S), stdin=MUCH)
    assert done.stdout == MUCH
    assert done.stderr == MUCH


def test_a_command_need_not_read_its_input(session: Session) -> None:
    done = session.execute("echo done", deadline=Deadline.after(SOON_S), stdin=MUCH)
    assert (done.status, done.stdout) == (0, b"done\n")


def test_a_command_that_a_signal_ended_has_no_status(session: Session) -> None:
    assert session.execute("kill -9 $$", deadline=Deadline.after(SOON_S)).status == -1


def test_a_late_command_is_late_with_what_it_had_said_and_the_next_one_works(session: Session) -> None:
    with pytest.raises(Late) as caught:
        session.execute("echo begun; sleep 60", deadline=Deadline.after(1.0))
    assert caught.value.output.stdout == b"begun\n"
    assert session.execute("echo next", deadline=Deadline.after(SOON_S)).stdout == b"next\n"


def test_a_server_that_does_not_even_accept_a_command_is_late(session: Session) -> None:
    deadline = Deadline.after(0.5)
    with pytest.raises(Late):
        session.execute(HANG, deadline=deadline)
    assert deadline.passed


def test_a_deadline_after_the_connection_broke_leaves_no_thread_with_an_error() -> None:
    with (
        serving() as (stream, server),
        ssh.connected(stream, deadline=Deadline.after(SOON_S)) as session,
    ):
        threading.Timer(0.4, server.close).start()
        with pytest.raises((Late, Lost)):
            session.execute(HANG, deadline=Deadline.after(0.5))


def test_a_session_that_is_abandoned_ends_the_wait_at_once(session: Session) -> None:
    deadline = Deadline.after(SOON_S)
    threading.Timer(0.2, session.abandon).start()
    with pytest.raises(Lost):
        session.execute("sleep 60", deadline=deadline)
    assert not deadline.passed
    with pytest.raises(Lost):
        session.execute("true", deadline=deadline)


def test_a_server_that_hangs_up_is_lost() -> None:
    with (
        serving() as (stream, server),
        ssh.connected(stream, deadline=Deadline.after(SOON_S)) as session,
    ):
        threading.Timer(0.2, server.close).start()
        with pytest.raises(Lost):
            session.execute("sleep 60", deadline=Deadline.after(SOON_S))


def test_who_is_not_let_in_is_lost_with_the_reason() -> None:
    with (
        serving(open_to_all=False) as (stream, _),
        pytest.raises(Lost, match="Bad authentication type"),
        ssh.connected(stream, deadline=Deadline.after(SOON_S)),
    ):
        pass


def test_a_server_that_was_gone_before_is_lost() -> None:
    with serving() as (stream, server):
        server.close()
        with pytest.raises(Lost), ssh.connected(stream, deadline=Deadline.after(SOON_S)):
            pass


def test_a_greeting_ends_with_the_first_packet() -> None:
    said = b"SSH-2.0-any\r\n\0\0\0\6\4packet"[:-1]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(said + b"more")
        assert ssh.greeting(ours, deadline=Deadline.after(SOON_S)) == said
        assert ours.recv(10) == b"more"


def test_a_server_that_says_nothing_or_hangs_up_in_the_middle_has_not_greeted() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with pytest.raises(Lost, match="does not say"):
            ssh.greeting(ours, deadline=Deadline.after(0.1))
        theirs.sendall(b"SSH-2.0-half\r\n\0\0\1\0")
        theirs.close()
        with pytest.raises(Lost, match="hung up"):
            ssh.greeting(ours, deadline=Deadline.after(SOON_S))
