# SPDX-License-Identifier: GPL-2.0-only
"""/proc/meminfo: how much memory there is and what it is used for."""

from __future__ import annotations

import re
from collections.abc import Mapping

from toolkit.collect.collector import Collector

PATH = "/proc/meminfo"

_LINE = re.compile(r"([\w()]+): +(\d+)(?: kB)?$")


def parse(text: str) -> Mapping[str, int]:
    """Each line's number by its name: KiB, but for the HugePages_* lines, which count."""
    values: dict[str, int] = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            raise ValueError(f"not a line of meminfo: {line!r}")
        values[match[1]] = int(match[2])
    if "MemTotal" not in values:
        raise ValueError("no MemTotal")
    return values


COLLECTOR = Collector("meminfo", (PATH,), parse)
