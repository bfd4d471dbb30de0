# SPDX-License-Identifier: GPL-2.0-only
"""What zsmalloc's data structures in a guest's memory said: plain values, without the guest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Layout(Enum):
    """How a zspage and its pages find each other; told from the debug information."""

    # The pages form a chain through page->index, and point back with page->private.
    CHAIN = "chain"
    # The zspage has an array of its pages, and the pages an owner pointer (pageless-owner).
    OWNER = "owner"
    # The pages are tails of their zspage (pageless-compound).
    HEAD = "head"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it must be: which rule, where (addresses in hex), and what was seen."""

    rule: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Page:
    """A struct page that a zspage has: at `address`, for the frame `pfn`.

    `flags` are the names of those that are set ("PG_private"); the other values are the
    words of struct page, by their place: `next_word` is lru.next and compound_head,
    `mapping` the owner word, `index` the next page or the handle or the owner's order.
    """

    pfn: int
    address: int
    flags: frozenset[str]
    next_word: int
    mapping: int
    index: int
    private: int
    page_type: int
    refcount: int
    memcg_data: int = 0


@dataclass(frozen=True)
class Zspage:
    """A zspage, as found in the list `found_in` (a fullness group) of a class.

    `headers` are the first words of all its objects, allocated or free; of a huge one,
    where it keeps its handle.  `targets` is what each allocated object's handle holds,
    None where the handle cannot be read.  `isolated` is None where nobody counts it.
    """

    address: int
    found_in: int
    pool: int
    class_index: int
    fullness: int
    inuse: int
    freeobj: int
    huge: bool
    isolated: int | None
    pages: tuple[Page, ...]
    headers: tuple[int, ...]
    targets: Mapping[int, int | None]
    # The word that each page's owner pointer must hold; 0 if pages have none.
    owner_word: int = 0
    # Of a zspage that is the head of its pages: its own mapping and reference count.
    head_mapping: int = 0
    head_refcount: int = 0

    @property
    def name(self) -> str:
        return f"zspage {self.address:#x}"


@dataclass(frozen=True)
class SizeClass:
    """A size class with its zspages; `counted` are zspages by fullness group, as the class counts them."""

    index: int
    size: int
    objects: int
    pages: int
    obj_allocated: int
    obj_used: int
    counted: tuple[int, ...]
    zspages: tuple[Zspage, ...]


@dataclass(frozen=True)
class Pool:
    """One pool; `busy` names its locks that are held."""

    name: str
    address: int
    pages_allocated: int
    pages_compacted: int
    classes: tuple[SizeClass, ...]
    busy: tuple[str, ...] = ()


@dataclass(frozen=True)
class Frame:
    """A page that zsmalloc has by its marks."""

    pfn: int
    address: int
    mapping: int


@dataclass(frozen=True)
class Heap:
    """Everything of zsmalloc in one memory.

    `obj_shift` and `tag_bits`: an object's value is (pfn << obj_shift | index) << tag_bits;
    0 if there was no object to learn it from.  `marked` are all frames with zsmalloc's
    mark, `nr_zspages` the kernel's own count of pages.  `live_zspages` and `live_handles`
    are the slab allocator's objects, None where it does not tell.  `broken` was found
    while the structures were followed.
    """

    release: str
    layout: Layout
    page_size: int
    obj_shift: int
    tag_bits: int
    # What page->mapping, or a head's, is for pages of zsmalloc; 0 where the page type tells.
    movable_word: int
    pools: tuple[Pool, ...]
    marked: tuple[Frame, ...]
    nr_zspages: int
    live_zspages: frozenset[int] | None
    live_handles: frozenset[int] | None
    broken: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = field(default=())
    # In 7.3.4 the index of the class stands above that of the object; 0 before.
    class_shift: int = 0

    @property
    def busy(self) -> tuple[str, ...]:
        """The locks that are held, by pool."""
        return tuple(f"{pool.name}: {lock}" for pool in self.pools for lock in pool.busy)
