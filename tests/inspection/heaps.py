# SPDX-License-Identifier: GPL-2.0-only
"""Heaps made by hand, in which everything is as it must be."""

from __future__ import annotations

from toolkit.inspection.heap import Frame, Heap, Layout, Page, Pool, SizeClass, Zspage

PAGE = 4096
SHIFT = 27
POOL = 0xFFFF_8880_0100_0000
OPERATIONS = 0xFFFF_FFFF_8200_0000
STRUCT_PAGES = 0xFFFF_EA00_0000_0000
END = (1 << 64) - 2

# The class of 3264 bytes: 5 objects in 4 pages; that of 4096: huge.
SIZE, OBJECTS, PAGES = 3264, 5, 4


def page_address(pfn: int) -> int:
    return STRUCT_PAGES + 64 * pfn


def zspage(layout: Layout, number: int, allocated: tuple[int, ...], group: int) -> Zspage:
    """A zspage of that class; its free objects are linked from the last to the first."""
    address = 0xFFFF_8880_0200_0000 + 256 * number
    pfns = [0x1000 + 16 * number + i for i in range(PAGES)]
    head = layout is Layout.HEAD
    owner_word = address | 1 if head else (OPERATIONS if layout is Layout.CHAIN else address) | 2
    headers = [0] * OBJECTS
    targets: dict[int, int | None] = {}
    freeobj = 0xFFFF_FFFF
    for index in range(OBJECTS):
        if index in allocated:
            handle = 0xFFFF_8880_0300_0000 + 8 * (number * OBJECTS + index)
            headers[index] = handle | 1
            targets[handle] = (pfns[index * SIZE // PAGE] << SHIFT | index) << 1
        else:
            headers[index] = freeobj << 1 if freeobj < OBJECTS else END
            freeobj = index
    pages = []
    for position, pfn in enumerate(pfns):
        following = page_address(pfns[position + 1]) if position + 1 < PAGES else 0
        chain = layout is Layout.CHAIN
        pages.append(
            Page(
                pfn=pfn,
                address=page_address(pfn),
                flags=frozenset({"PG_private"} if chain and position == 0 else ()),
                next_word=owner_word if head else 0xDEAD000000000100,
                mapping=0 if head else owner_word,
                index=following if chain else 0,
                private=address if chain else 0,
                page_type=-position * PAGE % SIZE if chain else 0xFFFFFFFF,
                refcount=0 if head else 1,
            )
        )
    return Zspage(
        address=address,
        found_in=group,
        pool=POOL,
        class_index=202,
        fullness=group,
        inuse=len(allocated),
        freeobj=freeobj,
        huge=False,
        isolated=0,
        pages=tuple(pages),
        headers=tuple(headers),
        targets=targets,
        owner_word=owner_word,
        head_mapping=OPERATIONS | 2 if head else 0,
        head_refcount=1 if head else 0,
    )


def heap(layout: Layout) -> Heap:
    """A pool with a full, an almost full and an almost empty zspage."""
    zspages = (
        zspage(layout, 0, (0, 1, 2, 3, 4), 3),
        zspage(layout, 1, (0, 2, 3, 4), 2),
        zspage(layout, 2, (4,), 1),
    )
    one = SizeClass(
        index=202,
        size=SIZE,
        objects=OBJECTS,
        pages=PAGES,
        obj_allocated=15,
        obj_used=10,
        counted=(0, 1, 1, 1),
        zspages=zspages,
    )
    pages = [page for each in zspages for page in each.pages]
    return Heap(
        release="6.1.192",
        layout=layout,
        page_size=PAGE,
        obj_shift=SHIFT,
        tag_bits=1,
        movable_word=OPERATIONS | 2,
        pools=(Pool("zram0", POOL, len(pages), 0, (one,)),),
        marked=tuple(Frame(page.pfn, page.address, page.mapping) for page in pages),
        nr_zspages=len(pages),
        live_zspages=frozenset(each.address for each in zspages),
        live_handles=frozenset(handle for each in zspages for handle in each.targets),
    )
