# SPDX-License-Identifier: GPL-2.0-only
"""All the files of a checkpoint, taken in one command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from toolkit import saved
from toolkit.collect import frames
from toolkit.collect.collector import collectors
from toolkit.collect.frames import Frame
from toolkit.deadline import Deadline
from toolkit.errors import CaptureError
from toolkit.rig.guest import Guest
from toolkit.workload.memory import STAT_REFRESH

SCHEMA = 1
_INDEX = "snapshot.json"


@dataclass(frozen=True)
class _Index:
    uptime_s: float
    files: tuple[str, ...]
    unreadable: Mapping[str, str]
    schema: int = SCHEMA


@dataclass(frozen=True)
class Snapshot(Mapping[str, str]):
    """The text of each file by its path in the guest.

    `uptime_s` is the guest's CLOCK_MONOTONIC when the first file was read, in seconds.
    `unreadable` says why a file that exists has no text here: an errno's name by path.
    """

    files: Mapping[str, str]
    uptime_s: float
    unreadable: Mapping[str, str]

    def __getitem__(self, path: str) -> str:
        return self.files[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def save(self, directory: Path) -> None:
        """Write every file below `directory` under its own path, and an index beside them."""
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in self.files.items():
            target = directory / _relative(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        saved.write(directory / _INDEX, _Index(self.uptime_s, tuple(self.files), self.unreadable))

    @classmethod
    def load(cls, directory: Path) -> Snapshot:
        """The snapshot that `save` left there; StoreError if there is none."""
        index = saved.read(_Index, directory / _INDEX)
        files = {path: (directory / _relative(path)).read_text(encoding="utf-8") for path in index.files}
        return cls(MappingProxyType(files), index.uptime_s, MappingProxyType(dict(index.unreadable)))


def command() -> str:
    """What is executed in the guest."""
    # What makes others exact is read before them.
    globs = dict.fromkeys((STAT_REFRESH, *(path for each in collectors() for path in each.paths)))
    return f"capture files {' '.join(map(shlex.quote, globs))}"


def take(guest: Guest, deadline: Deadline) -> Snapshot:
    """Every collector's files, as they are now.

    A file that does not exist is not in the snapshot: whoever needs it says so.
    """
    return parse(guest.execute(command(), deadline=deadline).stdout)


def parse(stream: bytes) -> Snapshot:
    """The snapshot in what `capture files` wrote; CaptureError if it is cut short or empty."""
    try:
        return of(frames.parse(stream))
    except ValueError as error:
        raise CaptureError("snapshot", str(error)) from error


def of(taken: Sequence[Frame]) -> Snapshot:
    """The snapshot of files that were read; CaptureError if there is none."""
    if not taken:
        raise CaptureError("snapshot", "the guest has none of the files that are looked for")
    return Snapshot(
        MappingProxyType({f.path: f.data.decode("utf-8", "replace") for f in taken if not f.error}),
        min(f.uptime_s for f in taken),
        MappingProxyType({f.path: f.error for f in taken if f.error}),
    )


def _relative(path: str) -> Path:
    parts = PurePosixPath(path).parts
    if not path.startswith("/") or ".." in parts:
        raise CaptureError("snapshot", f"not an absolute path: {path!r}")
    return Path(*parts[1:])
