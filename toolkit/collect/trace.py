# SPDX-License-Identifier: GPL-2.0-only
"""A recorded trace as columns: every event of every CPU in the order of time."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from toolkit.collect import merge_fast, ringbuffer
from toolkit.collect.formats import EventFormat, Field, PageFormat

# From how many events on compiling pays off.
_WORTHWHILE = 500_000


@dataclass(frozen=True)
class Events:
    """The events of one kind, n of them, in the order of time.

    order: (n,) int64, the place among all events of the trace; time: (n,) uint64, in
    the units of the trace clock; cpu: (n,) int32; start and length: (n,) int64, where their data are.
    """

    format: EventFormat
    order: NDArray[np.int64]
    time: NDArray[np.uint64]
    cpu: NDArray[np.int32]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    data: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.order)

    @property
    def pid(self) -> NDArray[np.int64]:
        """(n,) the thread that was running."""
        return self.column("common_pid").astype(np.int64)

    def column(self, name: str) -> NDArray[np.generic]:
        """(n,) a scalar field, in the type that the format gives it."""
        field = self._field(name)
        if field.array or field.dynamic or field.size not in (1, 2, 4, 8):
            raise ValueError(f"{self.format.name}: {name} is no number")
        return _gather(self.data, self.start + field.offset, field.size, field.signed)

    def numbers(self, name: str) -> NDArray[np.uint64]:
        """(n,) a scalar field, as 64 bits."""
        return self.column(name).astype(np.uint64)

    def texts(self, name: str) -> tuple[str, ...]:
        """n texts: a string field, up to its first NUL."""
        field = self._field(name)
        extents = (self._extent(field, row) for row in range(len(self)))
        return tuple(_text(self.data[begin:end].tobytes()) for begin, end in extents)

    def _extent(self, field: Field, row: int) -> tuple[int, int]:
        start = int(self.start[row])
        if field.dynamic:
            at = start + field.offset
            where = int.from_bytes(self.data[at : at + 4].tobytes(), "little")
            begin = start + (where & 0xFFFF)
            return begin, begin + (where >> 16)
        if field.size == 0:
            return start + field.offset, start + int(self.length[row])
        return start + field.offset, start + field.offset + field.size

    def _field(self, name: str) -> Field:
        try:
            return self.format.fields[name]
        except KeyError:
            known = ", ".join(self.format.fields)
            raise ValueError(f"{self.format.name} has no field {name!r}, only {known}") from None


@dataclass(frozen=True)
class Trace:
    """Columns of equal length n, one row an event, in the order of time.

    time: (n,) uint64; cpu: (n,) int32; id: (n,) uint16 of the format; start, length:
    (n,) int64, where in `data` the event's own data are.  Events with the same time (which
    the "counter" clock never gives) stand by CPU.  `losses` pages say that some are lost.
    """

    time: NDArray[np.uint64]
    cpu: NDArray[np.int32]
    id: NDArray[np.uint16]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    data: NDArray[np.uint8]
    formats: Mapping[str, EventFormat]
    losses: int

    def __len__(self) -> int:
        return len(self.time)

    def events(self, name: str) -> Events:
        """The events called `name`; ValueError if the trace has no format for it."""
        if name not in self.formats:
            raise ValueError(f"no format for {name!r}, only for {', '.join(sorted(self.formats))}")
        format = self.formats[name]
        order = np.flatnonzero(self.id == format.id)
        return Events(
            format,
            order,
            self.time[order],
            self.cpu[order],
            self.start[order],
            self.length[order],
            self.data,
        )

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """How many events of each kind there are, 0 for those that never came."""
        largest = max((format.id for format in self.formats.values()), default=0)
        found = np.bincount(self.id, minlength=largest + 1)
        return {name: int(found[format.id]) for name, format in sorted(self.formats.items())}


def decode(buffers: Mapping[int, bytes], page: PageFormat, formats: Mapping[str, EventFormat]) -> Trace:
    """The trace in each CPU's pages; ValueError if they are malformed or hold an unknown event."""
    cpus = sorted(buffers)
    walks = {cpu: ringbuffer.walk(buffers[cpu], page) for cpu in cpus}
    data = np.frombuffer(b"".join(buffers[cpu] for cpu in cpus), np.uint8)
    bases = np.cumsum([0, *(len(buffers[cpu]) for cpu in cpus)])
    # The empty parts give the columns their type where there is no CPU at all.
    time = np.concatenate([np.zeros(0, np.uint64), *(walks[cpu].time for cpu in cpus)])
    starts = (walks[cpu].start + base for cpu, base in zip(cpus, bases[:-1], strict=True))
    start = np.concatenate([np.zeros(0, np.int64), *starts])
    length = np.concatenate([np.zeros(0, np.int64), *(walks[cpu].length for cpu in cpus)])
    begins = np.cumsum([0, *(len(walks[cpu].start) for cpu in cpus)])
    columns = None
    if len(time) >= _WORTHWHILE and importlib.util.find_spec("numba") is not None:
        columns = merge_fast.merge(time, start, length, np.array(cpus, np.int32), begins, data)
    if columns is None:
        order = np.argsort(time, kind="stable")
        start = start[order]
        cpu_column = np.repeat(np.array(cpus, np.int32), np.diff(begins))[order]
        ids = _gather(data, start, 2, signed=False).astype(np.uint16)
        columns = time[order], cpu_column, ids, start, length[order]
    known = {format.id for format in formats.values()}
    unknown = [number for number in np.flatnonzero(np.bincount(columns[2])).tolist() if number not in known]
    if unknown:
        raise ValueError(f"an event of id {unknown[0]} has no format")
    losses = sum(walk.losses for walk in walks.values())
    return Trace(*columns, data, formats, losses)


def _gather(
    data: NDArray[np.uint8], starts: NDArray[np.int64], size: int, signed: bool
) -> NDArray[np.generic]:
    """The little-endian integers that stand at `starts`."""
    # An event begins where a 32-bit word does, in whole pages.
    width = min(size, 4)
    if len(data) % width == 0 and not (starts % width).any():
        words, at = data.view(f"<u{width}"), starts // width
        raw = words[at]
        if size > 4:
            raw = words[at + 1].astype("<u8") << np.uint64(32) | raw
    else:
        raw = np.ascontiguousarray(data[starts[:, None] + np.arange(size)])
    found: NDArray[np.generic] = raw.view(f"<{'i' if signed else 'u'}{size}").reshape(len(starts))
    return found


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "replace")
