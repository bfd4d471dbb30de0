# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's monitor: QMP commands and events, asked from any thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import IO, Any, TypeVar

from qemu.qmp import ConnectError, ExecInterruptedError, QMPClient, Runstate, StateError
from qemu.qmp.error import QMPError
from qemu.qmp.qmp_client import ExecuteError

from toolkit.deadline import Deadline
from toolkit.errors import QemuError

T = TypeVar("T")

# It tells in its own log what it also raises.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)

# What QEMU answers at once, it answers within this; a longer wait means that it hangs.
_ANSWER_S = 120.0


class Monitor:
    """A QMP session.  Every failure of QEMU to answer raises QemuError."""

    def __init__(self, loop: asyncio.AbstractEventLoop, client: QMPClient) -> None:
        self._loop = loop
        self._client = client
        self._events: list[dict[str, Any]] = []
        self._over = False
        self._changed = threading.Condition()

    def execute(self, command: str, *, deadline: Deadline | None = None, **arguments: Any) -> Any:
        """What a QMP command returns.  Write `_` for the `-` in an argument's name."""
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        asked = self._client.execute(command, named or None)
        try:
            return self._wait(asked, deadline or Deadline.after(_ANSWER_S))
        except ExecuteError as error:
            raise QemuError(f"QEMU refused {command}: {error}") from error
        except concurrent.futures.TimeoutError:
            raise QemuError(f"QEMU did not answer {command} in time") from None
        except (ExecInterruptedError, StateError, QMPError, OSError, EOFError) as error:
            raise QemuError(f"QEMU was gone when asked for {command}: {error}") from error

    def give(self, name: str, file: IO[bytes] | socket.socket) -> None:
        """Give QEMU an open file or socket, which its commands then know by `name`."""

        async def send() -> None:
            self._client.send_fd_scm(file.fileno())

        self._wait(send(), Deadline.after(_ANSWER_S))
        self.execute("getfd", fdname=name)

    def human(self, command: str, *, deadline: Deadline | None = None) -> str:
        """What the human monitor prints: for what QMP has no command for."""
        return str(self.execute("human-monitor-command", deadline=deadline, command_line=command))

    def events(self, name: str) -> tuple[dict[str, Any], ...]:
        """The events of that name that came so far, oldest first."""
        with self._changed:
            return tuple(event for event in self._events if event["event"] == name)

    def wait_event(
        self, name: str, accept: Callable[[Mapping[str, Any]], bool], deadline: Deadline
    ) -> Mapping[str, Any] | None:
        """The data of the first event of that name that is accepted; None at the deadline or QEMU's end."""

        def found() -> Mapping[str, Any] | None:
            data = (event.get("data", {}) for event in self.events(name))
            return next((each for each in data if accept(each)), None)

        with self._changed:
            self._changed.wait_for(lambda: self._over or found(), deadline.remaining_s)
            return found()

    def _wait(self, work: Coroutine[Any, Any, T], deadline: Deadline) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(deadline.remaining_s)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise

    async def _listen(self) -> None:
        async for event in self._client.events:
            with self._changed:
                self._events.append(dict(event))
                self._changed.notify_all()

    async def _watch(self) -> None:
        """Tell those who wait for an event that none will come."""
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()
        self._end()

    def _end(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()


@contextlib.contextmanager
def session(stream: socket.socket, *, deadline: Deadline) -> Iterator[Monitor]:
    """A QMP session over a connected socket, which it closes; QemuError if QEMU does not greet."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="qmp", daemon=True)
    thread.start()

    def wait(work: Coroutine[Any, Any, T], seconds: float) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(seconds)

    client = QMPClient("pageless")
    monitor = Monitor(loop, client)
    watching: list[concurrent.futures.Future[None]] = []
    try:
        try:
            wait(client.connect(stream), deadline.remaining_s)
        except (ConnectError, concurrent.futures.TimeoutError) as error:
            raise QemuError("QEMU did not open its monitor") from error
        for work in (monitor._listen(), monitor._watch()):
            watching.append(asyncio.run_coroutine_threadsafe(work, loop))
        yield monitor
    finally:
        for future in watching:
            future.cancel()
        # QEMU may be gone, which disconnecting reports: no news.
        with contextlib.suppress(QMPError, OSError, EOFError, concurrent.futures.TimeoutError):
            wait(client.disconnect(), _ANSWER_S)
        monitor._end()
        stream.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
