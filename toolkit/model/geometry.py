# SPDX-License-Identifier: GPL-2.0-only
"""zsmalloc's size classes, for a release, a page size and a chain size."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from enum import Enum

from toolkit.errors import InputError

# Every stored object is preceded by its handle (mm/zsmalloc.c, ZS_HANDLE_SIZE on 64 bits),
# except in a huge class, where the page itself keeps it.
HANDLE_SIZE = 8
# ZS_MIN_ALLOC_SIZE. The other operand of its MAX() is smaller wherever the object index has room
# for the chain, which is so on x86_64 and arm64 at every page size; in 7.3.4 too, where the class
# takes 9 of the index's bits (with 52 bits of physical addresses 15 are left at 4K, 19 at 64K).
_MIN_SIZE = 32
_CLASS_BITS = 8


class Rules(Enum):
    """Which generation of rules a release follows; read from 6.1.192, 6.12.117, 7.2.13 and 7.3.4.

    SEARCH_BY_QUARTER (6.1): chains of at most 4 pages chosen by used percentage;
    groups empty, almost empty (up to three quarters), almost full, full.
    SEARCH_BY_TENTH (6.12 and later): chains of CONFIG_ZSMALLOC_CHAIN_SIZE chosen by
    waste; twelve groups.

    From 6.12.117 to 7.3.4 mm/zsmalloc.c came to struct zpdesc, to reading and writing instead
    of mapping, and to objects that name their class, so that zs_free() takes no lock of the pool;
    but the functions that decide by these rules (get_fullness_group(), insert_zspage(),
    find_get_zspage(), migrate_zspage(), isolate_src_zspage(), isolate_dst_zspage(),
    calculate_zspage_chain_size()) differ in nothing but the type of a page.  Two things of 7.3.4
    show only under concurrency, within the bounds: __zs_compact() leaves a class when an
    object of its source is being read (zspage_write_trylock() fails; 6.12 waits), and zs_free()
    frees the pages of an emptied zspage after it dropped the class's lock.
    """

    SEARCH_BY_QUARTER = "6.1"
    SEARCH_BY_TENTH = "6.12"


# Columns of debugfs `classes` that count zspages by fullness, in the order they are printed.
_FULLNESS_COLUMNS = {
    Rules.SEARCH_BY_QUARTER: ("almost_full", "almost_empty"),
    Rules.SEARCH_BY_TENTH: ("10%", "20%", "30%", "40%", "50%", "60%", "70%", "80%", "90%", "99%", "100%"),
}


# The fullness group that each of those columns counts.
_COLUMN_GROUPS = {
    Rules.SEARCH_BY_QUARTER: (2, 1),
    Rules.SEARCH_BY_TENTH: tuple(range(1, 12)),
}


def group_by_quarter(inuse: int, objects: int) -> int:
    """get_fullness_group() of 6.1: 0 empty, 1 almost empty, 2 almost full, 3 full."""
    if inuse == 0:
        return 0
    if inuse == objects:
        return 3
    return 1 if inuse <= 3 * objects // 4 else 2


def group_by_tenth(inuse: int, objects: int) -> int:
    """get_fullness_group() of 6.12: 0 empty, 1 to 10 by tenths, 11 full."""
    if inuse == 0:
        return 0
    return 11 if inuse == objects else 100 * inuse // objects // 10 + 1


@dataclass(frozen=True)
class SizeClass:
    """One distinct size class.

    index: as debugfs prints it, the largest of the merged ones; size: bytes an object
    takes, its handle included; objects: N, objects a zspage; pages: P, pages a zspage.
    """

    index: int
    size: int
    objects: int
    pages: int

    @property
    def huge(self) -> bool:
        """One object a page, its handle kept in the page's descriptor."""
        return self.objects == 1 and self.pages == 1


@dataclass(frozen=True)
class Geometry:
    """The size classes of one kernel.

    classes: the distinct ones, smallest first; positions: for each of the
    ZS_SIZE_CLASSES indices, the position in `classes` that it was merged into.
    """

    rules: Rules
    page_size: int
    chain_size: int
    classes: tuple[SizeClass, ...]
    positions: tuple[int, ...]

    @property
    def fullness_columns(self) -> tuple[str, ...]:
        """The columns of debugfs `classes` that count zspages by fullness."""
        return _FULLNESS_COLUMNS[self.rules]

    @property
    def column_groups(self) -> tuple[int, ...]:
        """The fullness group that each of `fullness_columns` counts."""
        return _COLUMN_GROUPS[self.rules]

    def inuse_of(self, column: int, size_class: SizeClass) -> range:
        """How many objects a zspage may hold that `fullness_columns[column]` counts.

        Empty if no number of objects puts a zspage of this class there.
        """
        return _inuse_of(self.rules, column, size_class.objects)

    @property
    def huge_class_size(self) -> int:
        """zs_huge_class_size(): from this many bytes on an object takes a whole page.

        The size of the largest class that is not huge, less what the handle takes,
        plus one (zs_create_pool in 6.1.192 and 6.12.117).
        """
        largest = next(c for c in reversed(self.classes) if c.pages != 1 and c.objects != 1)
        merged = max(i for i, at in enumerate(self.positions) if self.classes[at] == largest)
        return _class_size(merged, self.page_size) - (HANDLE_SIZE - 1)

    def position(self, size: int) -> int:
        """The position in `classes` of an object of `size` bytes, 1 to page_size.

        Raises ValueError outside that range, as zs_malloc() refuses it.
        """
        if not 0 < size <= self.page_size:
            raise ValueError(f"zs_malloc() takes 1 to {self.page_size} bytes, not {size}")
        index = max(0, -(-(size + HANDLE_SIZE - _MIN_SIZE) // (self.page_size >> _CLASS_BITS)))
        return self.positions[min(len(self.positions) - 1, index)]

    def class_of(self, size: int) -> SizeClass:
        """The class that holds an object of `size` bytes; ValueError as position()."""
        return self.classes[self.position(size)]


def rules_of(release: str) -> Rules:
    """The rules of a release ("6.1", "6.12.117-amd64", "v7.2"), or InputError.

    Releases between those that were read are refused: 6.2 to 6.11 changed the chain
    size, the groups and compaction one after the other.
    """
    found = re.match(r"v?(\d+)\.(\d+)", release)
    if found is None:
        raise InputError(f"{release!r} is no kernel release", hint="6.1, 6.12.117, 7.2")
    version = int(found[1]), int(found[2])
    if version == (6, 1):
        return Rules.SEARCH_BY_QUARTER
    if version >= (6, 12):
        return Rules.SEARCH_BY_TENTH
    raise InputError(
        f"the model does not know zsmalloc's rules in {release}",
        hint="it knows 6.1, and 6.12 and later",
    )


@functools.cache
def geometry(release: str, page_size: int, chain_size: int | None = None) -> Geometry:
    """The size classes of `release` with pages of `page_size` bytes.

    `chain_size` is CONFIG_ZSMALLOC_CHAIN_SIZE, 8 by default; 6.1 has no such option and
    links 4 pages at most.  Raises InputError for what no kernel can be configured to.
    """
    rules = rules_of(release)
    if page_size not in (4096, 16384, 65536):
        raise InputError(f"no page size of {page_size} bytes", hint="4096, 16384 or 65536")
    if rules is Rules.SEARCH_BY_QUARTER:
        if chain_size not in (None, 4):
            raise InputError(f"{release} has no chain size to choose: it links 4 pages at most")
        chain = 4
    else:
        chain = 8 if chain_size is None else chain_size
        if not 4 <= chain <= 16:
            raise InputError(f"no chain size of {chain}", hint="CONFIG_ZSMALLOC_CHAIN_SIZE is 4 to 16")
    pages_of = _pages_by_percentage if rules is Rules.SEARCH_BY_QUARTER else _pages_by_waste
    classes: list[SizeClass] = []
    owners: list[int] = []
    for index in reversed(range(_class_count(page_size))):
        size = _class_size(index, page_size)
        pages = pages_of(size, page_size, chain)
        objects = pages * page_size // size
        if not classes or (classes[-1].pages, classes[-1].objects) != (pages, objects):
            classes.append(SizeClass(index, size, objects, pages))
        owners.append(len(classes) - 1)
    return Geometry(
        rules=rules,
        page_size=page_size,
        chain_size=chain,
        classes=tuple(reversed(classes)),
        positions=tuple(len(classes) - 1 - owner for owner in reversed(owners)),
    )


@functools.cache
def _inuse_of(rules: Rules, column: int, objects: int) -> range:
    group_of = group_by_quarter if rules is Rules.SEARCH_BY_QUARTER else group_by_tenth
    group = _COLUMN_GROUPS[rules][column]
    counts = [inuse for inuse in range(objects + 1) if group_of(inuse, objects) == group]
    return range(counts[0], counts[-1] + 1) if counts else range(0)


def _class_count(page_size: int) -> int:
    """ZS_SIZE_CLASSES."""
    return -(-(page_size - _MIN_SIZE) // (page_size >> _CLASS_BITS)) + 1


def _class_size(index: int, page_size: int) -> int:
    return min(page_size, _MIN_SIZE + index * (page_size >> _CLASS_BITS))


def _pages_by_percentage(size: int, page_size: int, chain: int) -> int:
    """6.1's get_pages_per_zspage(): the first maximum of the whole percentage used."""

    def used(pages: int) -> int:
        total = pages * page_size
        return (total - total % size) * 100 // total

    return max(range(1, chain + 1), key=used)


def _pages_by_waste(size: int, page_size: int, chain: int) -> int:
    """6.12's calculate_zspage_chain_size(): the first minimum of waste, one page for a power of two."""
    if size & (size - 1) == 0:
        return 1
    return min(range(1, chain + 1), key=lambda pages: pages * page_size % size)
