# SPDX-License-Identifier: GPL-2.0-only
"""How much code two kernels have, function by function, as scripts/bloat-o-meter counts it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from toolkit.deadline import Deadline
from toolkit.kernel import build
from toolkit.kernel.arch import Arch
from toolkit.kernel.build import BuiltKernel
from toolkit.run import run

# Types of nm: code, global or not, weak or not.
_CODE = frozenset("tTwW")
# What the compiler appends to the name of a function that it cut up or specialised.
_SUFFIX = re.compile(r"(\.(constprop|isra|part|cold|llvm)(\.\d+)*|\.\d+)+$")


@dataclass(frozen=True)
class Change:
    """A function's bytes, 0 where it is not."""

    function: str
    before: int
    after: int

    def __str__(self) -> str:
        return f"{self.function} {self.before} -> {self.after} ({self.after - self.before:+d})"


@dataclass(frozen=True)
class Growth:
    """What changed between two kernels: the functions that did, the largest change first."""

    before: int
    after: int
    changes: tuple[Change, ...]

    @property
    def bytes(self) -> int:
        return self.after - self.before

    def __str__(self) -> str:
        new = sum(change.before == 0 for change in self.changes)
        gone = sum(change.after == 0 for change in self.changes)
        grown = sum(0 < change.before < change.after for change in self.changes)
        shrunk = sum(0 < change.after < change.before for change in self.changes)
        return f"{self.bytes:+d} (add/remove {new}/{gone}, grow/shrink {grown}/{shrunk})"


def functions(kernel: BuiltKernel, arch: Arch) -> Mapping[str, int]:
    """The bytes of every function of a kernel; those of one name are added up."""
    listed = run([build.nm(arch), "-S", "--defined-only", kernel.vmlinux], deadline=Deadline.after(120))
    return parse(listed.stdout)


def parse(listed: str) -> Mapping[str, int]:
    """The functions in what `nm -S` printed."""
    sizes: Counter[str] = Counter()
    for line in listed.splitlines():
        words = line.split()
        # Without a size, it is a mark of the linker script.
        if len(words) == 4 and words[2] in _CODE:
            sizes[_SUFFIX.sub("", words[3])] += int(words[1], 16)
    return dict(sizes)


def growth(before: Mapping[str, int], after: Mapping[str, int]) -> Growth:
    changes = [Change(name, before.get(name, 0), after.get(name, 0)) for name in {*before, *after}]
    different = [change for change in changes if change.before != change.after]
    different.sort(key=lambda change: (-abs(change.after - change.before), change.function))
    return Growth(sum(before.values()), sum(after.values()), tuple(different))
