# SPDX-License-Identifier: GPL-2.0-only
"""A decoded trace against the text that the kernel printed of the same buffers."""

from __future__ import annotations

import re

from toolkit.collect.trace import Trace

LINE = re.compile(
    r" *(?P<comm>.+)-(?P<pid>\d+) +\[(?P<cpu>\d+)\] \S+ +(?P<time>[\d.]+): (?P<name>\w+): (?P<rest>.*)$"
)
NAMES = {"tracing_mark_write": "print"}
VALUE = re.compile(r"(\w+)=(0x[0-9a-f]+|-?\d+)\b")


def compare(trace: Trace, text: str) -> int:
    """Assert that every printed event was decoded with its time, CPU, thread and numbers.

    Returns how many numbers were compared.
    """
    matches = [LINE.match(line) for line in text.splitlines() if not line.startswith("#")]
    lines = [line for line in matches if line]
    assert len(lines) == len(matches) == len(trace) > 0
    compared = 0
    for name in sorted({line["name"] for line in lines}):
        events = trace.events(NAMES.get(name, name))
        mine = [line for line in lines if line["name"] == name]
        assert len(events) == len(mine), name
        printed = [m["time"] for m in mine]
        assert list(map(_as_printed, events.time.tolist(), printed)) == printed
        assert events.cpu.tolist() == [int(m["cpu"]) for m in mine]
        assert events.pid.tolist() == [int(m["pid"]) for m in mine]
        for key in events.format.fields:
            shown = [dict(VALUE.findall(m["rest"])).get(key) for m in mine]
            if all(value is not None for value in shown) and events.format.fields[key].size <= 8:
                column = [int(v) for v in events.column(key).tolist()]
                assert column == [int(value or "", 0) for value in shown], (name, key)
                compared += len(column)
    return compared


def _as_printed(time: int, beside: str) -> str:
    """A clock of nanoseconds in seconds, rounded to microseconds; a counter as it is."""
    if "." not in beside:
        return str(time)
    seconds, microseconds = divmod((time + 500) // 1000, 1_000_000)
    return f"{seconds}.{microseconds:06d}"
