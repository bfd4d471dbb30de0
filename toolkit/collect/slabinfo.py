# SPDX-License-Identifier: GPL-2.0-only
"""/proc/slabinfo: what the slab caches hold, zsmalloc's handles and zspages among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolkit.collect.collector import Collector

PATH = "/proc/slabinfo"

_HEAD = "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>"


@dataclass(frozen=True)
class Cache:
    """One cache; `objsize` in bytes, with what debugging adds."""

    active_objs: int
    num_objs: int
    objsize: int
    objperslab: int
    pagesperslab: int


def parse(text: str) -> Mapping[str, Cache]:
    """Each cache by its name.  SLUB merges caches unless told `slab_nomerge`: a name may be absent."""
    version, head, *lines = text.splitlines() or ("", "")
    if not version.startswith("slabinfo - version: 2.") or not head.startswith(_HEAD):
        raise ValueError(f"another version of slabinfo than 2: {version!r}")
    caches: dict[str, Cache] = {}
    for line in lines:
        words = line.partition(" : ")[0].rsplit(None, 5)
        if len(words) != 6:
            raise ValueError(f"not a cache: {line!r}")
        caches[words[0]] = Cache(*map(int, words[1:]))
    return caches


COLLECTOR = Collector("slabinfo", (PATH,), parse)
