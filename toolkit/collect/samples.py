# SPDX-License-Identifier: GPL-2.0-only
"""Counters through a run: a process in the guest reads them a few times a second."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from toolkit.collect import vmstat, zram
from toolkit.deadline import Deadline
from toolkit.errors import CaptureError
from toolkit.rig.guest import Guest

PERIOD_MS = 250

_FILE = "/tmp/pageless.samples"
_NAME = "samples.txt"
_MM_STAT = tuple(field.name for field in dataclasses.fields(zram.MmStat))


@dataclass(frozen=True)
class Samples:
    """n samples: uptime_s (n,) float64, the guest's CLOCK_MONOTONIC in seconds; each of
    `columns` (n,) int64 by its name, "nr_zspages" of /proc/vmstat or "zram/mem_used_total",
    the sum over all zram devices that there were at the time.

    The kernel's counters per CPU are not folded for a sample: one can be behind by some
    dozens of pages, or below zero.
    """

    uptime_s: NDArray[np.float64]
    columns: Mapping[str, NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.uptime_s)


@dataclass(frozen=True)
class Sampler:
    """The process that samples, from `start` until `stop`."""

    pid: int

    @classmethod
    def start(cls, guest: Guest, deadline: Deadline, period_ms: int = PERIOD_MS) -> Sampler:
        """Begin: a line of numbers every `period_ms`."""
        globs = " ".join(map(shlex.quote, (vmstat.PATH, *zram.MM_STAT.paths)))
        started = guest.execute(f"capture sample {period_ms} {_FILE} {globs}", deadline=deadline)
        try:
            return cls(int(started.text))
        except ValueError:
            raise CaptureError("capture sample", f"no process id: {started.text!r}") from None

    def stop(self, guest: Guest, deadline: Deadline, directory: Path) -> Samples:
        """End it and keep what it wrote below `directory`."""
        fetched = guest.execute(f"kill {self.pid}; cat {_FILE} && rm {_FILE}", deadline=deadline)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / _NAME).write_bytes(fetched.stdout)
        return load(directory)


def load(directory: Path) -> Samples:
    """What a sampler left there; CaptureError if it is absent or torn."""
    path = directory / _NAME
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CaptureError(str(path), str(error)) from error


def parse(text: str) -> Samples:
    """The columns that `capture sample` wrote; ValueError if a row has not what the head names.

    A last line without its end is left out: the process was stopped while it wrote.
    """
    head, *rows = text[: text.rfind("\n") + 1].splitlines() or [""]
    names = head.split(" ")
    if names[0] != "uptime_ns":
        raise ValueError(f"a line of names was expected: {head[:80]!r}")
    if not rows:
        raise ValueError("not one sample")
    for number, row in enumerate(rows):
        if row.count(" ") != len(names) - 1:
            raise ValueError(f"sample {number} has {row.count(' ') + 1} numbers, not {len(names)}")
    table = np.array([row.split(" ") for row in rows]).astype(np.int64)
    columns = {_column(name): table[:, index] for index, name in enumerate(names) if index}
    return Samples(table[:, 0] / 1e9, MappingProxyType({k: v for k, v in columns.items() if k}))


def _column(name: str) -> str:
    """Our name for "/proc/vmstat:nr_zspages" or "/sys/block/zram*/mm_stat:2"; none for a column unknown."""
    path, _, key = name.rpartition(":")
    if path == vmstat.PATH:
        return key
    if PurePosixPath(path).name == "mm_stat":
        index = int(key)
        return f"{zram.device_of(path).rstrip('*')}/{_MM_STAT[index]}" if index < len(_MM_STAT) else ""
    return f"{path}:{key}"
