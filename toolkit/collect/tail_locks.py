# SPDX-License-Identifier: GPL-2.0-only
"""debugfs tail_lock: who locked tail pages, or heads that are no pages, since the kernel was booted.

The file is of the series `census`, by CONFIG_DEBUG_TAIL_LOCK.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from toolkit.collect.collector import Collector

FILE = "/sys/kernel/debug/tail_lock"

# The kernel's own proof that it counts: who it is, and how often it calls each function.
SELFTEST_CALLER = "tail_lock_selftest"
SELFTEST: Mapping[str, int] = MappingProxyType(
    {
        "folio_lock": 1,
        "lock_page": 1,
        "lock_page_killable": 1,
        "trylock_page": 1,
        "unlock_page": 3,
        "wait_on_page_locked": 1,
        "wait_on_page_locked_killable": 1,
    }
)

_LOST = re.compile(r"lost (\d+)")
# The compiler numbers the clones that it makes of a function: "isolate.part.0+0x1c/0x40 [module]".
_LINE = re.compile(r"(\d+) (\w+) (compound|other) (\w+)[.\w]*\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[\w+\])?")


@dataclass(frozen=True, order=True)
class TailLock:
    """A function that is done to tails by `caller`, whose `head` is a compound page's or "other"."""

    caller: str
    function: str
    head: str


@dataclass(frozen=True)
class TailLocks:
    """How often each was seen; `lost` had no place in the kernel's table."""

    counts: Mapping[TailLock, int]
    lost: int

    def of(self, caller: str) -> Mapping[str, int]:
        """How often a caller did what, whatever the head."""
        found: Counter[str] = Counter()
        for lock, count in self.counts.items():
            if lock.caller == caller:
                found[lock.function] += count
        return dict(sorted(found.items()))


def parse(text: str) -> TailLocks:
    """Places in the same function are taken together; ValueError at a line of another form."""
    first, _, rest = text.partition("\n")
    lost = _LOST.fullmatch(first)
    if lost is None:
        raise ValueError(f"it begins with {first!r}, not with what was lost")
    counts: Counter[TailLock] = Counter()
    for line in rest.splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"not a count of a caller: {line!r}")
        counts[TailLock(caller=found[4], function=found[2], head=found[3])] += int(found[1])
    return TailLocks(MappingProxyType(dict(sorted(counts.items()))), int(lost[1]))


COLLECTOR = Collector("tail_locks", (FILE,), parse)
