# SPDX-License-Identifier: GPL-2.0-only
"""/proc/vmstat: the counters of memory management."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from toolkit.collect.collector import Collector
from toolkit.workload.memory import STAT_REFRESH

PATH = "/proc/vmstat"

# What the kernel prints of a counter when it folds them (vmstat_refresh(), mm/vmstat.c); the
# file has 0 for it.
_BELOW_ZERO = re.compile(r"vmstat_refresh: (\w+) (-\d+)\s*$", re.MULTILINE)


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


def below_zero(console: str) -> Mapping[str, tuple[int, ...]]:
    """Each counter that the kernel said is negative, with what it was each time."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for name, value in _BELOW_ZERO.findall(console):
        found[name].append(int(value))
    return {name: tuple(values) for name, values in found.items()}


def parse_refresh(text: str) -> bool:
    """That the counters were folded."""
    if text:
        raise ValueError("it was thought to hold nothing")
    return True


COLLECTOR = Collector("vmstat", (PATH,), parse)
REFRESHED = Collector("vmstat refresh", (STAT_REFRESH,), parse_refresh)
