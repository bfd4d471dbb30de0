# SPDX-License-Identifier: GPL-2.0-only
"""The pages of ftrace's ring buffer, walked event by event.

A page begins with a 64-bit time stamp and a commit count; events follow, each with a
32-bit head: 5 bits of type, 27 of time since the one before.  The types are those of
include/linux/ring_buffer.h (enum ring_buffer_type); what a time stamp adds up to is as
rb_update_read_stamp() in kernel/trace/ring_buffer.c counts it.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.collect.formats import PageFormat

# Types of events; 1 to 28 are data of that many 32-bit words, 0 is data with a length word.
DATA = 0
PADDING = 29
TIME_EXTEND = 30
TIME_STAMP = 31

TIME_SHIFT = 27
# A commit count says in bit 31 that events were lost before this page.
LENGTH_MASK = (1 << TIME_SHIFT) - 1
LOST = 1 << 31
# An absolute time stamp has 59 bits; the upper ones are those of the time before it.
STAMP_BITS = 59
UPPER_BITS = 0xF8 << 56

# From how many bytes on compiling the walk pays off.
_WORTHWHILE = 8 << 20


@dataclass(frozen=True)
class Walk:
    """Columns of equal length n, one row an event of data, as they stand in the buffer.

    time: (n,) uint64, in the units of the trace clock; start: (n,) int64, where in the walked bytes
    the event's data begin; length: (n,) int64, of its data in bytes.  `losses` pages say
    that events before them were lost.
    """

    time: NDArray[np.uint64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    losses: int


def walk(data: bytes, page: PageFormat) -> Walk:
    """Every event in one CPU's pages; ValueError if they are of no such form.

    A large buffer is walked by compiled code if numba is installed, with the same result.
    """
    if len(data) >= _WORTHWHILE and importlib.util.find_spec("numba") is not None:
        return walk_fast(data, page)
    return walk_plain(data, page)


def walk_fast(data: bytes, page: PageFormat) -> Walk:
    """As `walk_plain`, compiled by numba at the first call (about two seconds)."""
    from toolkit.collect import ringbuffer_fast

    _check_size(data, page)
    return Walk(*ringbuffer_fast.walk(np.frombuffer(data, np.uint32), page))


def walk_plain(data: bytes, page: PageFormat) -> Walk:
    """The reference, in plain Python."""
    _check_size(data, page)
    words = memoryview(data).cast("I")
    doubles = memoryview(data).cast("Q")
    times: list[int] = []
    starts: list[int] = []
    lengths: list[int] = []
    losses = 0
    for base in range(0, len(data), page.size):
        time = doubles[(base + page.timestamp) // 8]
        commit = doubles[(base + page.commit) // 8]
        losses += bool(commit & LOST)
        at = base + page.data
        end = at + (commit & LENGTH_MASK)
        if end > base + page.size:
            raise ValueError(f"the page at byte {base} claims {end - at} bytes of events")
        while at < end:
            head = words[at // 4]
            kind, delta = head & 31, head >> 5
            following = words[at // 4 + 1] if at + 4 < end else 0
            if kind == PADDING:
                # Without a time it fills up the page; with one it is a discarded event,
                # whose time the next one does not count from.
                if delta == 0:
                    break
                at += 4 + following
            elif kind == TIME_EXTEND:
                time += delta + (following << TIME_SHIFT)
                at += 8
            elif kind == TIME_STAMP:
                time = absolute(delta + (following << TIME_SHIFT), time)
                at += 8
            else:
                time += delta
                start, length = (at + 8, following - 4) if kind == DATA else (at + 4, 4 * kind)
                if length < 0 or start + length > end:
                    raise ValueError(f"the event at byte {at} claims {length} bytes, its page has fewer")
                times.append(time)
                starts.append(start)
                lengths.append(length)
                at = start + length
    return Walk(np.array(times, np.uint64), np.array(starts, np.int64), np.array(lengths, np.int64), losses)


def absolute(stamp: int, before_ns: int) -> int:
    """An absolute time stamp with the upper bits that it lacks, as rb_fix_abs_ts() restores them."""
    upper = before_ns & UPPER_BITS
    if upper:
        stamp |= upper
        if stamp < before_ns:
            stamp += 1 << STAMP_BITS
    return stamp


def _check_size(data: bytes, page: PageFormat) -> None:
    if len(data) % page.size:
        raise ValueError(f"{len(data)} bytes are not whole pages of {page.size}")
