# SPDX-License-Identifier: GPL-2.0-only
"""/proc/vmstat: the counters of memory management."""

from __future__ import annotations

from collections.abc import Mapping

from toolkit.collect.collector import Collector

PATH = "/proc/vmstat"


def parse(text: str) -> Mapping[str, int]:
    """Each counter by its name; `nr_*` are pages or objects, the others events since boot."""
    counters: dict[str, int] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name in counters:
            raise ValueError(f"{name} is there twice")
        try:
            counters[name] = int(value)
        except ValueError:
            raise ValueError(f"not a counter: {line!r}") from None
    if not counters:
        raise ValueError("no counter at all")
    return counters


COLLECTOR = Collector("vmstat", (PATH,), parse)
