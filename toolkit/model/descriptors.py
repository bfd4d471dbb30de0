# SPDX-License-Identifier: GPL-2.0-only
"""What zsmalloc's metadata costs: today's struct page against one word, two, and descriptors of their own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

WORD = 8
# struct page of a 64-bit kernel: what a page costs today, whoever has it.
STRUCT_PAGE = 64

# What migration needs of a page while it is isolated, and zsmalloc to find its zspage: a
# descriptor of its own would hold flags (the lock, isolation), a list_head, the owner, a
# reference count and the offset of the first object, as struct zpdesc does (since 6.14).
DESCRIPTOR = WORD + 2 * WORD + WORD + 4 + 4


class Memmap(Enum):
    """What the memory map holds for each page."""

    STRUCT_PAGE = "struct page"
    ONE_WORD = "one word"
    TWO_WORDS = "two words"
    DESCRIPTORS = "one word and a descriptor"

    @property
    def page_bytes(self) -> int:
        """For each page of zsmalloc: its part of the memory map, and its descriptor."""
        return {
            Memmap.STRUCT_PAGE: STRUCT_PAGE,
            Memmap.ONE_WORD: WORD,
            Memmap.TWO_WORDS: 2 * WORD,
            Memmap.DESCRIPTORS: WORD + DESCRIPTOR,
        }[self]


@dataclass(frozen=True)
class Census:
    """What was in all pools at one moment of a run.

    `stored` are the bytes of the objects, as zram counts its compressed data; `zspage_slot`
    and `handle_slot` the bytes of memory that one of each takes in its slab.
    """

    stored: int
    pages: int
    zspages: int
    objects: int
    zspage_slot: float
    handle_slot: float


@dataclass(frozen=True)
class Cost:
    """Metadata in bytes, by what it is for."""

    memmap: Memmap
    pages: int
    zspages: int
    handles: int
    stored: int

    @property
    def total(self) -> int:
        return self.pages + self.zspages + self.handles

    @property
    def per_stored_mb(self) -> float:
        """Bytes of metadata for each megabyte (10^6 bytes) that is stored."""
        return self.total * 1e6 / self.stored

    @property
    def percent(self) -> float:
        return 100 * self.total / self.stored


def costs(census: Census) -> tuple[Cost, ...]:
    """What the pools' metadata costs with each memory map; ValueError if nothing was stored.

    The zspages and handles are those of the kernel that was measured: of a series that
    keeps in the zspage what struct page kept, they are larger.
    """
    if census.stored <= 0:
        raise ValueError("nothing was stored: there is nothing to relate a cost to")
    return tuple(
        Cost(
            memmap=memmap,
            pages=census.pages * memmap.page_bytes,
            zspages=round(census.zspages * census.zspage_slot),
            handles=round(census.objects * census.handle_slot),
            stored=census.stored,
        )
        for memmap in Memmap
    )
