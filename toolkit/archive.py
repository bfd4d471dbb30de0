# SPDX-License-Identifier: GPL-2.0-only
"""The runs that were kept: one directory each, and an SQLite index that can be rebuilt from them."""

from __future__ import annotations

import contextlib
import datetime
import secrets
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit import places, saved
from toolkit.errors import StoreError, UnknownNameError
from toolkit.record import Cell, Outcome, Plan, Run

_TABLE = """
create table if not exists runs (
    id text primary key,
    started text not null,
    status text,
    cells integer not null,
    command text not null
) strict
"""


@dataclass(frozen=True)
class Entry:
    """One line of the index; `status` is None for a run that did not end."""

    id: str
    started: str
    status: str | None
    cells: int
    command: str


@dataclass(frozen=True)
class Archive:
    """The runs below a directory, normally $XDG_STATE_HOME/pageless/runs."""

    root: Path

    @classmethod
    def default(cls) -> Archive:
        return cls(places.state_dir() / "runs")

    def begin(self, argv: Sequence[str], cells: Sequence[Cell]) -> Run:
        """A new run's directory with its plan in it."""
        now = datetime.datetime.now(datetime.UTC)
        name = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        plan = Plan(id=name, started=now.isoformat(timespec="seconds"), argv=tuple(argv), cells=tuple(cells))
        run = Run(self.root / name)
        try:
            (run.directory / "cells").mkdir(parents=True)
            (run.directory / "build").mkdir()
        except OSError as error:
            raise StoreError(
                f"{run.directory}: {error.strerror}", hint="free some space, or set XDG_STATE_HOME"
            ) from None
        saved.write(run.plan_file, plan)
        with self._index() as index:
            index.execute("insert or replace into runs values (?, ?, null, ?, ?)", _row(plan))
        return run

    def end(self, run: Run, outcome: Outcome) -> None:
        """Keep what a run came to."""
        saved.write(run.verdict_file, outcome)
        with self._index() as index:
            index.execute("update runs set status = ? where id = ?", (outcome.status.value, run.id))

    def forget(self, run: Run) -> None:
        """Remove a run and all that was kept of it."""
        with self._index() as index:
            index.execute("delete from runs where id = ?", (run.id,))
        shutil.rmtree(run.directory)

    def entries(self) -> tuple[Entry, ...]:
        """All runs, the newest first."""
        with self._index() as index:
            rows = index.execute("select id, started, status, cells, command from runs order by id desc")
            return tuple(Entry(*row) for row in rows)

    def find(self, name: str) -> Run:
        """The run with this id, or with the only id that begins so; "last" is the newest."""
        known = sorted(path.name for path in self.root.glob("*-*-*") if (path / "run.json").exists())
        if name == "last" and known:
            return Run(self.root / known[-1])
        matches = [name] if name in known else [run for run in known if run.startswith(name)]
        if len(matches) != 1:
            raise UnknownNameError("run", name, matches or known[-20:])
        return Run(self.root / matches[0])

    @contextlib.contextmanager
    def _index(self) -> Iterator[sqlite3.Connection]:
        """The index in one transaction; a damaged or lost one is rebuilt from the directories."""
        path = self.root / "index.sqlite"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            connection = self._open(path)
        except sqlite3.OperationalError as error:
            # The disk or another process is in the way: the index itself may be sound.
            raise StoreError(f"{path}: {error}", hint="free some space, or set XDG_STATE_HOME") from None
        except sqlite3.DatabaseError:
            try:
                for file in self.root.glob("index.sqlite*"):
                    file.unlink()
                connection = self._open(path)
            except (OSError, sqlite3.Error) as error:
                raise StoreError(f"{path}: {error}") from None
        except OSError as error:
            raise StoreError(
                f"{path}: {error.strerror}", hint="set XDG_STATE_HOME to a writable place"
            ) from None
        try:
            with contextlib.closing(connection), connection:
                yield connection
        except sqlite3.Error as error:
            raise StoreError(
                f"{path}: {error}", hint="free some space, or remove it: it is rebuilt"
            ) from None

    def _open(self, path: Path) -> sqlite3.Connection:
        fresh = not path.exists()
        connection = sqlite3.connect(path, timeout=30)
        try:
            connection.execute("pragma journal_mode = wal")
            connection.execute(_TABLE)
            if fresh:
                self._rebuild(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _rebuild(self, connection: sqlite3.Connection) -> None:
        with connection:
            for plan_file in self.root.glob("*/run.json"):
                run = Run(plan_file.parent)
                with contextlib.suppress(StoreError):
                    plan = run.plan()
                    connection.execute("insert or ignore into runs values (?, ?, null, ?, ?)", _row(plan))
                    status = run.outcome().status.value
                    connection.execute("update runs set status = ? where id = ?", (status, plan.id))


def _row(plan: Plan) -> tuple[str, str, int, str]:
    return plan.id, plan.started, len(plan.cells), " ".join(plan.argv)
