# SPDX-License-Identifier: GPL-2.0-only
"""tracefs' descriptions of binary traces: events/SYSTEM/EVENT/format, header_page, header_event.

The text is documented in Documentation/trace/events.rst ("Event formats").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_FIELD = re.compile(r"\tfield:(?P<declaration>.+);\toffset:(\d+);\tsize:(\d+);(?:\tsigned:(\d);)?$")
_DECLARATION = re.compile(r"(?P<type>.+?) ?\b(?P<name>\w+)(?P<array>\[[^\]]*\])?$")
_BITS = re.compile(r"\t(\w+)\s*:\s*(\d+) bits$")
_SPECIAL = re.compile(
    r"\t(padding|time_extend|time_stamp) +: type == (\d+)$|\t(data max) type_len +== (\d+)$"
)


@dataclass(frozen=True)
class Field:
    """Where a field stands: `offset` and `size` in bytes.

    A `dynamic` field holds, in 32 bits, where in the event its bytes are (offset in the
    low half, length in the high one).  An `array` of size 0 reaches to the event's end.
    """

    name: str
    type: str
    offset: int
    size: int
    signed: bool
    array: bool
    dynamic: bool


@dataclass(frozen=True)
class EventFormat:
    """One event: `id` is what the first field of its data, common_type, holds."""

    name: str
    id: int
    fields: Mapping[str, Field]


@dataclass(frozen=True)
class PageFormat:
    """A page of the ring buffer, in bytes: where its time stamp, its commit count and its data are."""

    timestamp: int
    commit: int
    data: int
    size: int


def parse_event(text: str) -> EventFormat:
    """A format file; ValueError if it is none."""
    name = re.search(r"^name: (\S+)$", text, re.MULTILINE)
    number = re.search(r"^ID: (\d+)$", text, re.MULTILINE)
    if name is None or number is None:
        raise ValueError("an event's format begins with its name and ID")
    fields = {field.name: field for field in map(_field, text.splitlines()) if field is not None}
    if "common_type" not in fields or "common_pid" not in fields:
        raise ValueError(f"{name[1]}: the common fields are missing")
    return EventFormat(name[1], int(number[1]), MappingProxyType(fields))


def parse_page(text: str) -> PageFormat:
    """events/header_page; ValueError if a field that the walk needs is absent or of another size."""
    fields = {field.name: field for field in map(_field, text.splitlines()) if field is not None}
    try:
        timestamp, commit, data = fields["timestamp"], fields["commit"], fields["data"]
    except KeyError as absent:
        raise ValueError(f"header_page has no field {absent}") from None
    if timestamp.size != 8 or commit.size != 8:
        raise ValueError("only 64-bit kernels are known: header_page has other sizes")
    return PageFormat(timestamp.offset, commit.offset, data.offset, data.offset + data.size)


def check_header(text: str) -> None:
    """ValueError unless events/header_event describes the header that the walk knows."""
    bits = {match[1]: int(match[2]) for match in map(_BITS.match, text.splitlines()) if match}
    special = {
        match[1] or match[3]: int(match[2] or match[4])
        for match in map(_SPECIAL.match, text.splitlines())
        if match
    }
    if bits != {"type_len": 5, "time_delta": 27, "array": 32} or special != {
        "padding": 29,
        "time_extend": 30,
        "time_stamp": 31,
        "data max": 28,
    }:
        raise ValueError(f"another event header than the known one: {bits}, {special}")


def _field(line: str) -> Field | None:
    match = _FIELD.match(line)
    if match is None:
        return None
    declaration = match["declaration"]
    dynamic = declaration.startswith("__data_loc ")
    # "__data_loc char[] name" has its brackets behind the type.
    plain = declaration.removeprefix("__data_loc ").replace("[] ", " ") if dynamic else declaration
    named = _DECLARATION.match(plain)
    if named is None:
        raise ValueError(f"not a field: {line!r}")
    return Field(
        name=named["name"],
        type=named["type"],
        offset=int(match[2]),
        size=int(match[3]),
        signed=match[4] == "1",
        array=named["array"] is not None,
        dynamic=dynamic,
    )
