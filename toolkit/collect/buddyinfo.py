# SPDX-License-Identifier: GPL-2.0-only
"""/proc/buddyinfo: free blocks by order, which is how fragmented a zone is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from toolkit.collect.collector import Collector, numbers

PATH = "/proc/buddyinfo"

_LINE = re.compile(r"Node (\d+), zone +(\S+) +(.+)$")


@dataclass(frozen=True)
class FreeBlocks:
    """One zone: `free[n]` free blocks of order n."""

    node: int
    zone: str
    free: tuple[int, ...]

    @property
    def pages(self) -> int:
        return sum(blocks << order for order, blocks in enumerate(self.free))

    def blocks(self, order: int) -> int:
        """Of that order, larger ones by what they hold."""
        return sum(blocks << larger for larger, blocks in enumerate(self.free[order:]))


def parse(text: str) -> tuple[FreeBlocks, ...]:
    zones = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            raise ValueError(f"not a zone: {line!r}")
        zones.append(FreeBlocks(int(match[1]), match[2], tuple(numbers(match[3], 1, match[2]))))
    if not zones:
        raise ValueError("no zone at all")
    return tuple(zones)


COLLECTOR = Collector("buddyinfo", (PATH,), parse)
