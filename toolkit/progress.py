# SPDX-License-Identifier: GPL-2.0-only
"""Progress of long steps on stderr: a live line each on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress as RichProgress
from rich.progress import SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

# How often a step may repeat what it is doing where nobody watches a live line.
PLAIN_INTERVAL_S = 15.0

Say = Callable[[str], None]


class Progress(Protocol):
    """Where long steps tell what they do; safe to use from several threads."""

    def step(self, title: str) -> contextlib.AbstractContextManager[Say]:
        """A step under way; the function it yields takes short lines about what is being done."""
        ...


class Plain:
    """Lines: a step's beginning, now and then what it does, and its end with the time it took."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Say]:
        began = last = time.monotonic()
        self._line(title)

        def say(text: str) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= PLAIN_INTERVAL_S:
                last = now
                self._line(f"{title}: {text} ({now - began:.0f} s)")

        try:
            yield say
        except BaseException:
            self._line(f"{title}: gave up after {time.monotonic() - began:.1f} s")
            raise
        self._line(f"{title}: done in {time.monotonic() - began:.1f} s")

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class Live:
    """A spinner, the elapsed time and the latest line of every step under way."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Say]:
        began = time.monotonic()
        task: TaskID = self._bars.add_task(escape(title), total=None, doing="")

        def say(text: str) -> None:
            self._bars.update(task, doing=escape(text))

        how = "gave up after"
        try:
            yield say
            how = "done in"
        finally:
            self._bars.remove_task(task)
            self._bars.console.print(
                f"{title}: {how} {time.monotonic() - began:.1f} s",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )


@contextlib.contextmanager
def on(console: Console) -> Iterator[Progress]:
    """Progress on this console (stderr's), live if it is a terminal."""
    if not console.is_terminal:
        yield Plain(console)
        return
    columns = (
        SpinnerColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        TextColumn("[dim]{task.fields[doing]}", table_column=None),
    )
    with RichProgress(*columns, console=console, transient=True) as bars:
        yield Live(bars)
