# SPDX-License-Identifier: GPL-2.0-only
"""debugfs shrinker/*/count: how many pages zsmalloc's shrinkers believe they can free."""

from __future__ import annotations

import re
from collections.abc import Mapping

from toolkit.collect.collector import Collector, numbers

# Counting makes a shrinker work: only zsmalloc's are asked (CONFIG_SHRINKER_DEBUG, since 6.0).
GLOB = "/sys/kernel/debug/shrinker/mm-zspool:*/count"


def parse(text: str) -> int:
    """The sum over all control groups and nodes; a line is a group's inode and a number a node."""
    return sum(sum(numbers(line, 2, "count")[1:]) for line in text.splitlines())


COLLECTOR = Collector("shrinker", (GLOB,), parse)


def of_pool(files: Mapping[str, str], pool: str) -> tuple[int, ...]:
    """What the shrinkers of pools of that name count, in pages: zswap's pools all have one name."""
    named = re.compile(rf".*/mm-zspool:{re.escape(pool)}-\d+/count")
    return tuple(pages for path, pages in COLLECTOR.read_all(files).items() if named.fullmatch(path))
