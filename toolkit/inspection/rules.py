# SPDX-License-Identifier: GPL-2.0-only
"""What zsmalloc must hold true of its structures at rest: pure rules over a Heap.

While a lock of a pool is held, or between two looks, a running guest may break some of
these for a moment: whoever looks at one that is not at rest looks again, and believes
what stays.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from toolkit.inspection.heap import Finding, Heap, Layout, Page, Pool, SizeClass, Zspage
from toolkit.model.geometry import group_by_quarter, group_by_tenth

# Each rule with what it demands.
RULES: Mapping[str, str] = {
    "list": "each list of zspages is a ring, back pointers included, and no zspage is in two",
    "fullness": "a zspage is in the list of its fullness, and says so itself",
    "count": "classes, pools and the zones count what is there",
    "page": "the pages of a zspage lead to it and to one another, and are held once",
    "object": "a zspage has as many allocated objects as it counts",
    "handle": "a handle leads to its object, and each object has a handle of its own",
    "freelist": "free objects form one list without cycles, and nothing else is in it",
    "declared": "of struct page, only what the variant declares is in use",
    "lost": "every page, zspage and handle that zsmalloc has is found from a pool",
}

_ALLOCATED = 1
_MOVABLE = 2
# page->_mapcount of a page that nobody maps, and that has no type.
_NO_TYPE = 0xFFFFFFFF
# Flags that say nothing about the owner: who may wait, what the page allocator and others note down.
_NEUTRAL = frozenset({"PG_locked", "PG_waiters", "PG_reported", "PG_young", "PG_idle"})
_WHILE_ISOLATED = frozenset({"PG_isolated", "PG_movable_ops_isolated"})


@dataclass
class Verdicts:
    """What the rules found, and how many things each of them looked at."""

    findings: list[Finding] = field(default_factory=list)
    looked: Counter[str] = field(default_factory=Counter)

    def look(self, rule: str, holds: bool, where: str, what: str) -> None:
        self.looked[rule] += 1
        if not holds:
            self.findings.append(Finding(rule, where, what))


def check(heap: Heap) -> Verdicts:
    """Every rule on everything."""
    verdicts = Verdicts(list(heap.broken))
    owners: dict[int, str] = {}
    handles: dict[int, str] = {}
    for pool in heap.pools:
        for one in pool.classes:
            where = f"{pool.name}, class {one.index}"
            _class(one, where, verdicts)
            for zspage in one.zspages:
                place = f"{where}, {zspage.name}"
                _zspage(pool, one, zspage, place, verdicts)
                if heap.layout is Layout.HEAD:
                    _head(heap, zspage, place, verdicts)
                _pages(heap, one, zspage, place, owners, verdicts)
                _objects(heap, one, zspage, place, handles, verdicts)
        _pool(pool, verdicts)
    _lost(heap, verdicts)
    return verdicts


def group_of(groups: int) -> Callable[[int, int], int]:
    """The rule by which a zspage's fullness group follows, known by how many there are."""
    return group_by_quarter if groups == 4 else group_by_tenth


def _class(one: SizeClass, where: str, verdicts: Verdicts) -> None:
    listed = Counter(zspage.found_in for zspage in one.zspages)
    groups = len(one.counted)
    verdicts.looked["list"] += groups
    for group, counted in enumerate(one.counted):
        # 6.1's deferred frees never count an empty zspage out again.
        holds = counted >= listed[group] if group == 0 else counted == listed[group]
        verdicts.look(
            "count", holds, where, f"{listed[group]} zspages in the list of group {group}, {counted} counted"
        )
    allocated = len(one.zspages) * one.objects
    verdicts.look(
        "count",
        one.obj_allocated == allocated,
        where,
        f"{allocated} objects in its {len(one.zspages)} zspages, {one.obj_allocated} counted",
    )
    used = sum(zspage.inuse for zspage in one.zspages)
    verdicts.look(
        "count", one.obj_used == used, where, f"its zspages use {used} objects, {one.obj_used} are counted"
    )


def _zspage(pool: Pool, one: SizeClass, zspage: Zspage, where: str, verdicts: Verdicts) -> None:
    group = group_of(len(one.counted))(zspage.inuse, one.objects) if zspage.inuse <= one.objects else -1
    verdicts.look(
        "fullness",
        group == zspage.found_in == zspage.fullness,
        where,
        f"{zspage.inuse} of {one.objects} objects in use belong to group {group}; "
        f"it says {zspage.fullness} and is in the list of {zspage.found_in}",
    )
    verdicts.look(
        "page", zspage.pool == pool.address, where, f"its pool is {zspage.pool:#x}, not {pool.address:#x}"
    )
    verdicts.look(
        "fullness",
        zspage.class_index == one.index,
        where,
        f"it says that its class is {zspage.class_index}",
    )
    huge = one.objects == 1 and one.pages == 1
    verdicts.look("page", zspage.huge == huge, where, f"huge is {zspage.huge} in a class where it is {huge}")
    if zspage.isolated is not None and not zspage.head_mapping:
        marked = sum(bool(page.flags & _WHILE_ISOLATED) for page in zspage.pages)
        verdicts.look(
            "count",
            zspage.isolated == marked,
            where,
            f"{marked} of its pages are isolated, {zspage.isolated} counted",
        )


def _head(heap: Heap, zspage: Zspage, where: str, verdicts: Verdicts) -> None:
    """A zspage that poses as the head of its pages looks like a movable page that nobody holds."""
    verdicts.look(
        "page",
        zspage.head_mapping == heap.movable_word,
        where,
        f"as a head, its mapping is {zspage.head_mapping:#x}, {heap.movable_word:#x} is right",
    )
    isolated = zspage.isolated or 0
    verdicts.look(
        "page",
        zspage.head_refcount == 1 if not isolated else zspage.head_refcount > 1,
        where,
        f"as a head, it has {zspage.head_refcount} references and {isolated} isolated pages",
    )


def _pages(
    heap: Heap, one: SizeClass, zspage: Zspage, where: str, owners: dict[int, str], verdicts: Verdicts
) -> None:
    verdicts.look(
        "page", len(zspage.pages) == one.pages, where, f"{len(zspage.pages)} pages are found of {one.pages}"
    )
    for position, page in enumerate(zspage.pages):
        place = f"{where}, page {position} (pfn {page.pfn:#x})"
        other = owners.setdefault(page.pfn, where)
        verdicts.look("page", other is where, place, f"it is a page of {other} too")
        for rule, holds, what in _links(heap, one, zspage, position, page):
            verdicts.look(rule, holds, place, what)
        isolated = bool(page.flags & _WHILE_ISOLATED)
        # The references to a tail are its head's.
        right = 0 if heap.layout is Layout.HEAD else 1 + isolated
        verdicts.look(
            "page",
            page.refcount == right or (isolated and page.refcount > right),
            place,
            f"its reference count is {page.refcount}, {right} is right",
        )
        verdicts.look("page", "PG_locked" not in page.flags, place, "it is locked and nothing works with it")


def _links(
    heap: Heap, one: SizeClass, zspage: Zspage, position: int, page: Page
) -> Iterator[tuple[str, bool, str]]:
    """What the words of a struct page must be: rule, whether it holds, what is seen."""
    allowed = _NEUTRAL | _WHILE_ISOLATED
    if heap.layout is Layout.HEAD:
        yield (
            "page",
            page.next_word == zspage.owner_word,
            f"compound_head is {page.next_word:#x}, {zspage.owner_word:#x} is right",
        )
        yield "declared", page.mapping == 0, f"mapping is in use: {page.mapping:#x}"
        yield "declared", page.private == 0, f"private is in use: {page.private:#x}"
        yield "declared", page.page_type == _NO_TYPE, f"_mapcount is in use: {page.page_type:#x}"
        yield "declared", not page.memcg_data, f"memcg_data is in use: {page.memcg_data:#x}"
        used = page.flags - _NEUTRAL
        yield "declared", not used, f"flags are in use: {' '.join(sorted(used))}"
        return
    yield (
        "page",
        page.mapping == zspage.owner_word,
        f"mapping is {page.mapping:#x}, {zspage.owner_word:#x} is right",
    )
    if heap.layout is Layout.OWNER:
        yield "declared", page.index == 0, f"the order of its allocation is {page.index}, 0 is right"
        yield "declared", page.private == 0, f"private is in use: {page.private:#x}"
        yield "declared", page.page_type == _NO_TYPE, f"_mapcount is in use: {page.page_type:#x}"
        yield "declared", not page.next_word & 1, f"compound_head is in use: {page.next_word:#x}"
        yield "declared", not page.memcg_data, f"memcg_data is in use: {page.memcg_data:#x}"
        used = page.flags - allowed
        yield "declared", not used, f"flags are in use: {' '.join(sorted(used))}"
        return
    yield "page", page.private == zspage.address, f"private is {page.private:#x}, not its zspage"
    first = "PG_private" in page.flags
    yield "page", first == (position == 0), f"PG_private is {'set' if first else 'not set'}"
    used = page.flags - allowed - {"PG_private", "PG_movable_ops", "PG_uptodate"}
    yield "declared", not used, f"flags are in use: {' '.join(sorted(used))}"
    if not zspage.huge:
        following = zspage.pages[position + 1].address if position + 1 < len(zspage.pages) else 0
        last = position + 1 == one.pages
        holds = page.index == following if following or last else True
        yield "page", holds, f"index leads to {page.index:#x}, not to its next page {following:#x}"
    offset = -position * heap.page_size % one.size
    # Since 6.11 ("mm/zsmalloc: use a proper page type") the upper 8 bits hold a page type.
    typed = page.page_type >> 24 not in (0, 0xFF)
    seen = page.page_type & 0xFFFFFF if typed else page.page_type
    yield "page", seen == offset, f"its first object is said to be at {seen}, {offset} is right"


def _objects(
    heap: Heap, one: SizeClass, zspage: Zspage, where: str, handles: dict[int, str], verdicts: Verdicts
) -> None:
    allocated = [index for index, header in enumerate(zspage.headers) if header & _ALLOCATED]
    verdicts.look(
        "object",
        len(allocated) == zspage.inuse,
        where,
        f"{len(allocated)} objects are marked as allocated, {zspage.inuse} are counted",
    )
    for index in allocated:
        place = f"{where}, object {index}"
        handle = zspage.headers[index] & ~_ALLOCATED
        target = zspage.targets.get(handle)
        if target is None:
            verdicts.look("handle", False, place, f"its handle {handle:#x} is not in memory")
            continue
        other = handles.setdefault(handle, place)
        verdicts.look("handle", other is place, place, f"its handle {handle:#x} is that of {other} too")
        position = index * one.size // heap.page_size
        if heap.obj_shift and position < len(zspage.pages):
            place_in_class = index | (one.index << heap.class_shift if heap.class_shift else 0)
            expected = (zspage.pages[position].pfn << heap.obj_shift | place_in_class) << heap.tag_bits
            verdicts.look(
                "handle",
                target == expected,
                place,
                f"its handle {handle:#x} leads to {target:#x}, {expected:#x} is right",
            )
        if heap.live_handles is not None:
            verdicts.look("handle", handle in heap.live_handles, place, f"its handle {handle:#x} was freed")
    if not zspage.huge:
        _free_list(zspage, where, frozenset(allocated), verdicts)


def _free_list(zspage: Zspage, where: str, allocated: frozenset[int], verdicts: Verdicts) -> None:
    """It goes once through all objects that are not allocated, and ends with an index that is none."""
    met: set[int] = set()
    at = zspage.freeobj
    wrong = ""
    while not wrong and at < len(zspage.headers):
        if at in met:
            wrong = f"it comes back to object {at} after {len(met)} objects"
        elif at in allocated:
            wrong = f"object {at} is in it and allocated"
        met.add(at)
        at = zspage.headers[at] >> 1 & 0xFFFFFFFF
    free = len(zspage.headers) - len(allocated)
    if not wrong and len(met) != free:
        wrong = f"{len(met)} objects are in it, and {free} are free"
    verdicts.look("freelist", not wrong, where, f"its free list: {wrong}")


def _pool(pool: Pool, verdicts: Verdicts) -> None:
    pages = sum(len(one.zspages) * one.pages for one in pool.classes)
    verdicts.look(
        "count",
        pool.pages_allocated == pages,
        pool.name,
        f"its zspages have {pages} pages, {pool.pages_allocated} are counted",
    )


def _lost(heap: Heap, verdicts: Verdicts) -> None:
    """What exists and cannot be found from any pool."""
    known: dict[int, int] = {}
    handles: set[int] = set()
    zspages: set[int] = set()
    for pool in heap.pools:
        for one in pool.classes:
            for zspage in one.zspages:
                zspages.add(zspage.address)
                known.update({page.pfn: zspage.address for page in zspage.pages})
                handles.update(header & ~_ALLOCATED for header in zspage.headers if header & _ALLOCATED)
    by_owner: dict[int, list[int]] = defaultdict(list)
    for frame in heap.marked:
        verdicts.looked["lost"] += 1
        if frame.pfn not in known:
            by_owner[frame.mapping].append(frame.pfn)
    for mapping, frames in by_owner.items():
        shown = " ".join(f"{pfn:#x}" for pfn in frames[:4])
        more = f" and {len(frames) - 4} more" if len(frames) > 4 else ""
        verdicts.findings.append(
            Finding("lost", f"pages with mapping {mapping:#x}", f"no zspage has the frames {shown}{more}")
        )
    verdicts.look(
        "lost",
        heap.nr_zspages == len(known),
        "nr_zspages",
        f"the zones count {heap.nr_zspages} pages, the zspages of all pools have {len(known)}",
    )
    for name, live, found in (
        ("zspage", heap.live_zspages, zspages),
        ("handle", heap.live_handles, handles),
    ):
        for address in live or ():
            verdicts.look(
                "lost", address in found, f"{name} {address:#x}", "it is allocated and nothing leads to it"
            )
        if live is not None:
            for address in found - live:
                verdicts.look("lost", False, f"{name} {address:#x}", "it is in use and was freed")
