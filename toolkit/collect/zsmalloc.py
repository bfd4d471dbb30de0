# SPDX-License-Identifier: GPL-2.0-only
"""debugfs zsmalloc/*/classes: a pool's size classes, in the layout of any kernel.

6.1 splits the zspages that are in use into `almost_full` and `almost_empty`; since 6.4
("zsmalloc: fine-grained inuse ratio based fullness grouping") there are columns "10%" to
"99%" and "100%".  The header names them, so it is the header that is followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType

from toolkit.collect.collector import Collector

GLOB = "/sys/kernel/debug/zsmalloc/*/classes"

_LEADING = ("class", "size")
_TRAILING = ("obj_allocated", "obj_used", "pages_used", "pages_per_zspage", "freeable")


@dataclass(frozen=True)
class SizeClass:
    """One row: `size` in bytes; `fullness` zspages by column ("almost_full", "10%", ...);
    `obj_*` objects; `pages_used`, `pages_per_zspage` and `freeable` pages.
    """

    index: int
    size: int
    fullness: Mapping[str, int]
    obj_allocated: int
    obj_used: int
    pages_used: int
    pages_per_zspage: int
    freeable: int


@dataclass(frozen=True)
class ClassTable:
    """A pool's table in the order of the class index: only classes that no other is merged into."""

    rows: tuple[SizeClass, ...]

    @property
    def pages_used(self) -> int:
        return sum(row.pages_used for row in self.rows)

    @property
    def obj_used(self) -> int:
        return sum(row.obj_used for row in self.rows)

    @property
    def freeable(self) -> int:
        return sum(row.freeable for row in self.rows)

    def by_index(self) -> Mapping[int, SizeClass]:
        return {row.index: row for row in self.rows}


def parse(text: str) -> ClassTable:
    """The table; ValueError if its totals are not the sums of its rows."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 3:
        raise ValueError("no table: a header, rows and totals were expected")
    header = tuple(lines[0].split())
    if header[:2] != _LEADING or header[-5:] != _TRAILING:
        raise ValueError(f"unknown columns: {lines[0].strip()!r}")
    fullness = header[2:-5]
    rows = []
    for line in lines[1:-1]:
        try:
            values = [int(word) for word in line.split()]
            named = dict(zip(header, values, strict=True))
        except ValueError:
            raise ValueError(f"not a row of {len(header)} numbers: {line.strip()!r}") from None
        rows.append(
            SizeClass(
                index=named["class"],
                size=named["size"],
                fullness=MappingProxyType({name: named[name] for name in fullness}),
                **{name: named[name] for name in _TRAILING},
            )
        )
    table = ClassTable(tuple(rows))
    _check_totals(table, fullness, lines[-1])
    return table


def _check_totals(table: ClassTable, fullness: tuple[str, ...], line: str) -> None:
    """Rows are read one after another while others may allocate, but their totals are summed from them."""
    word, *values = line.split()
    if word != "Total":
        raise ValueError(f"the line of totals was expected: {line.strip()!r}")
    expected = [sum(row.fullness[name] for row in table.rows) for name in fullness] + [
        sum(getattr(row, name) for row in table.rows) for name in _TRAILING if name != "pages_per_zspage"
    ]
    if [int(value) for value in values] != expected:
        raise ValueError(f"the totals are not the sums of the rows: {line.strip()!r}, not {expected}")


def pool_of(path: str) -> str:
    """ "zram0" of "/sys/kernel/debug/zsmalloc/zram0/classes"."""
    return PurePosixPath(path).parent.name


COLLECTOR = Collector("zsmalloc", (GLOB,), parse)
