# SPDX-License-Identifier: GPL-2.0-only
"""What the guest's `capture` program sends: several files in one stream."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Frame:
    """One file's content.

    `uptime_s` is CLOCK_MONOTONIC in the guest when it had been read, in seconds;
    `error` is empty, or the name of the errno ("EACCES") that kept it from being read.
    """

    path: str
    uptime_s: float
    data: bytes
    error: str = ""


def parse(stream: bytes) -> tuple[Frame, ...]:
    """The frames of a whole stream; ValueError if it ends in the middle of one."""
    return tuple(_frames(stream))


def _frames(stream: bytes) -> Iterator[Frame]:
    at = 0
    while at < len(stream):
        end = stream.find(b"\n", at)
        if end < 0:
            raise ValueError(f"the stream ends inside a frame's head, at byte {at}")
        head = stream[at:end].decode("utf-8", "replace")
        try:
            path, length_text, uptime_text = head.rsplit(" ", 2)
            length, uptime_ns = int(length_text), int(uptime_text)
        except ValueError:
            raise ValueError(f"no frame begins at byte {at}: {head[:80]!r}") from None
        begin = end + 1
        at = begin + max(length, 0) + 1
        if stream[at - 1 : at] != b"\n":
            raise ValueError(f"the stream ends inside {path}, of {length} bytes")
        error = _errno_name(-length) if length < 0 else ""
        yield Frame(path, uptime_ns / 1e9, stream[begin : begin + max(length, 0)], error)


def _errno_name(number: int) -> str:
    # Linux has the same numbers on every architecture that we boot.
    return errno.errorcode.get(number, os.strerror(number))
