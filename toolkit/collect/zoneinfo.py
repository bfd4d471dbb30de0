# SPDX-License-Identifier: GPL-2.0-only
"""/proc/zoneinfo: what each zone holds, its zspages among it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from toolkit.collect.collector import Collector
from toolkit.rig.guest import Guest
from toolkit.workload import memory

PATH = "/proc/zoneinfo"

_ZONE = re.compile(r"Node (\d+), zone +(\S+)$")
_STAT = re.compile(r" +(\w+) +(\d+)$")
_FREE = re.compile(r"  pages free +(\d+)$")
_COUNT = re.compile(r" +count: +(\d+)$")
_START = re.compile(r"  start_pfn: +(\d+)$")


@dataclass(frozen=True)
class Zone:
    """One zone, in pages: `pages` has "free", "min", "low", "high", "spanned", "present",
    "managed" and "cma"; `stats` the zone's own counters ("nr_zspages", "nr_free_pages", ...).

    `on_lists` is what each processor keeps of its free pages for itself, `frames` the page
    frames that the zone spans.  An unpopulated zone has nothing of all that.
    """

    node: int
    name: str
    pages: Mapping[str, int]
    stats: Mapping[str, int]
    on_lists: Sequence[int] = ()
    frames: range = range(0)

    @property
    def label(self) -> str:
        return f"node {self.node} {self.name}"

    @property
    def nr_zspages(self) -> int:
        """Pages of zspages in this zone: the kernel counts pages here, for all that the name says."""
        return self.stats["nr_zspages"] if self.pages["present"] else 0


def read(guest: Guest) -> tuple[Zone, ...]:
    """The guest's zones as they are, with what each CPU has counted for itself folded in."""
    memory.refresh(guest)
    return parse(guest.read(PATH).decode())


def parse(text: str) -> tuple[Zone, ...]:
    zones: list[Zone] = []
    pages: dict[str, int] = {}
    stats: dict[str, int] = {}
    on_lists: list[int] = []
    section = ""
    for line in text.splitlines():
        if head := _ZONE.match(line):
            pages, stats, on_lists = {}, {}, []
            zones.append(Zone(int(head[1]), head[2], pages, stats, on_lists))
            section = "zone"
        elif not zones:
            raise ValueError(f"a zone was expected: {line!r}")
        elif line == "  per-node stats":
            section = "node"
        elif line == "  pagesets":
            section = "cpus"
        elif free := _FREE.match(line):
            pages["free"] = int(free[1])
            section = "zone"
        elif section == "cpus" and (count := _COUNT.match(line)):
            on_lists.append(int(count[1]))
        elif start := _START.match(line):
            zones[-1] = replace(zones[-1], frames=range(int(start[1]), int(start[1]) + pages["spanned"]))
        elif section == "zone" and (stat := _STAT.match(line)):
            # A counter of the zone is named for what it counts, a watermark stands behind spaces.
            (stats if line.startswith("      ") and line[6] != " " else pages)[stat[1]] = int(stat[2])
    if not zones:
        raise ValueError("no zone at all")
    return tuple(zones)


COLLECTOR = Collector("zoneinfo", (PATH,), parse)
