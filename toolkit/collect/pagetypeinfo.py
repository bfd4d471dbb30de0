# SPDX-License-Identifier: GPL-2.0-only
"""/proc/pagetypeinfo: free blocks and pageblocks by migrate type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from toolkit.collect.collector import Collector

PATH = "/proc/pagetypeinfo"

_FREE = re.compile(r"Node +(\d+), zone +(\S+), type +(\S+) (.+)$")
_TYPES = re.compile(r"Number of blocks type +(.+)$")
_BLOCKS = re.compile(r"Node (\d+), zone +(\S+) +(.+)$")


@dataclass(frozen=True)
class ZoneTypes:
    """One zone, by migrate type ("Movable", ...): `free[type][order]` free blocks, at least
    that many (the kernel stops counting at 100,000), and `blocks[type]` pageblocks.
    """

    node: int
    zone: str
    free: Mapping[str, tuple[int, ...]]
    blocks: Mapping[str, int]


def parse(text: str) -> tuple[ZoneTypes, ...]:
    free: dict[tuple[int, str], dict[str, tuple[int, ...]]] = {}
    blocks: dict[tuple[int, str], dict[str, int]] = {}
    types: list[str] = []
    for line in text.splitlines():
        if match := _FREE.match(line):
            counts = tuple(int(word.lstrip(">")) for word in match[4].split())
            free.setdefault((int(match[1]), match[2]), {})[match[3]] = counts
        elif match := _TYPES.match(line):
            types = match[1].split()
        elif types and (match := _BLOCKS.match(line)):
            counts = tuple(map(int, match[3].split()))
            blocks[int(match[1]), match[2]] = dict(zip(types, counts, strict=True))
    if not blocks:
        raise ValueError("no table of pageblocks")
    return tuple(ZoneTypes(*zone, free.get(zone, {}), blocks[zone]) for zone in blocks)


COLLECTOR = Collector("pagetypeinfo", (PATH,), parse)
