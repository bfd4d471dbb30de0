# SPDX-License-Identifier: GPL-2.0-only
"""Follows zsmalloc's data structures through a guest's memory, with drgn, into plain values."""

from __future__ import annotations

import itertools
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import drgn
import numpy as np
from drgn import FaultError, Object, Program, cast
from drgn.helpers import ValidationError
from drgn.helpers.linux.cpumask import for_each_online_cpu, for_each_possible_cpu
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.mm import pfn_to_page
from drgn.helpers.linux.mmzone import for_each_online_pgdat
from drgn.helpers.linux.percpu import per_cpu_ptr
from drgn.helpers.linux.slab import _get_slab_cache_helper, slab_cache_for_each_allocated_object

from toolkit.errors import CaptureError
from toolkit.inspection.heap import Finding, Frame, Heap, Layout, Page, Pool, SizeClass, Zspage

# Longer than any list of zspages: one that goes on has a cycle that misses its head.
_LIST_LIMIT = 1 << 24
# Bits of page->flags have several names: these are how zsmalloc and migration call theirs.
_FLAGS = frozenset({"PG_private", "PG_isolated", "PG_movable_ops", "PG_movable_ops_isolated"})
# What a header says of an object: bit 0 is set if it is allocated, the rest its handle.
_ALLOCATED = 1
# How many objects tell how their frame and their index share a word.
_SAMPLE = 256
# page->mapping of a page that can be moved by its owner, and of one that was released by it.
_MOVABLE = 2
_TAGS = 3
_SHIFTS = range(1, 48)
_CLASS_SHIFTS = range(5, 32)


def walk(program: Program) -> Heap:
    """Everything of zsmalloc in a program's memory; CaptureError if it has no zsmalloc.

    The memory must not change meanwhile.  What cannot be followed is told in
    `Heap.broken`, and the walk goes on elsewhere.
    """
    try:
        program.type("struct zspage")
        program["zs_shrinker_scan"]
    except LookupError as error:
        raise CaptureError(
            "inspect", f"the kernel's debug information has no zsmalloc: {error}",
            hint="build it with --config inspect",
        ) from None  # fmt: skip
    return _Walker(program).heap()


@dataclass
class _Zspages:
    """One fullness list: zspages in its order, as far as it could be followed."""

    group: int
    found: list[Object] = field(default_factory=list)


class _Memory:
    """Memory read a page at a time."""

    def __init__(self, program: Program, page_size: int) -> None:
        self._program = program
        self._page_size = page_size
        self._pages: dict[int, bytes | None] = {}

    def word(self, address: int) -> int | None:
        """The 8 bytes at a virtual address, aligned; None if there is no memory."""
        base = address & ~(self._page_size - 1)
        if base not in self._pages:
            try:
                self._pages[base] = self._program.read(base, self._page_size)
            except (FaultError, ValueError):
                self._pages[base] = None
        page = self._pages[base]
        offset = address - base
        if page is None or offset % 8:
            return None
        return int.from_bytes(page[offset : offset + 8], "little")


class _Pages:
    """The array of struct page, read a section at a time."""

    def __init__(self, program: Program, page_size: int) -> None:
        self._program = program
        record = program.type("struct page")
        self.size = record.size or 64
        self.base = pfn_to_page(program, 0).value_()
        names = {m.name for m in record.members}
        self._at = {
            name: drgn.offsetof(record, member)
            for name, member in {
                "flags": "flags",
                "next_word": "lru.next",
                "mapping": "mapping",
                "private": "private",
                "page_type": "page_type",
                "refcount": "_refcount",
            }.items()
        }
        # page->index, whatever the release calls it, is the word after page->mapping.
        self._at["index"] = self._at["mapping"] + 8
        if "memcg_data" in names:
            self._at["memcg_data"] = drgn.offsetof(record, "memcg_data")
        self._flags: dict[int, str] = {}
        for name, bit in program.type("enum pageflags").enumerators:
            if name in _FLAGS or (name.startswith("PG_") and bit < 64 and bit not in self._flags):
                self._flags[bit] = name
        # Slabs have a page type since 6.10, and had a flag before.
        self._slab_type = _constant(program, "PGTY_slab")
        self._slab_bit = _constant(program, "PG_slab") or 0
        self._slab_cache = drgn.offsetof(program.type("struct slab"), "slab_cache")
        self._sections: dict[int, np.ndarray] = {}
        self._read(page_size)

    def _read(self, page_size: int) -> None:
        """All of it; holes are left out."""
        per_section = (128 << 20) // page_size
        for node in for_each_online_pgdat(self._program):
            start = node.node_start_pfn.value_()
            end = start + node.node_spanned_pages.value_()
            for first in range(start - start % per_section, end, per_section):
                low, high = max(first, start), min(first + per_section, end)
                try:
                    raw = self._program.read(self.base + low * self.size, (high - low) * self.size)
                except FaultError:
                    continue
                self._sections[low] = np.frombuffer(raw, dtype="<u8").reshape(high - low, self.size // 8)

    def pfn(self, address: int) -> int | None:
        """The frame of a struct page; None if nothing is one there."""
        offset = address - self.base
        if offset < 0 or offset % self.size:
            return None
        pfn = offset // self.size
        return pfn if self._row(pfn) is not None else None

    def page(self, pfn: int) -> Page:
        row = self._row(pfn)
        assert row is not None
        raw = row.tobytes()

        def word(name: str) -> int:
            return int.from_bytes(raw[self._at[name] : self._at[name] + 8], "little")

        def half(name: str, code: str = "<I") -> int:
            return int(struct.unpack_from(code, raw, self._at[name])[0])

        flags = word("flags")
        return Page(
            pfn=pfn,
            address=self.base + pfn * self.size,
            flags=frozenset(name for bit, name in self._flags.items() if flags >> bit & 1),
            next_word=word("next_word"),
            mapping=word("mapping"),
            index=word("index"),
            private=word("private"),
            page_type=half("page_type"),
            refcount=half("refcount", "<i"),
            memcg_data=word("memcg_data") if "memcg_data" in self._at else 0,
        )

    @property
    def mapping_at(self) -> int:
        """Where the word of page->mapping is."""
        return int(self._at["mapping"])

    def columns(self) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
        """For each stretch of frames: the first one, and compound_head, mapping and page_type of all."""
        kind = self._at["page_type"]
        for low, rows in self._sections.items():
            types = (rows[:, kind // 8] >> np.uint64(8 * (kind % 8))) & np.uint64(0xFFFFFFFF)
            yield low, rows[:, self._at["next_word"] // 8], rows[:, self._at["mapping"] // 8], types

    def slabs(self, cache: int) -> Iterator[int]:
        """The frames of a cache's slabs, the first of each."""
        for low, rows in self._sections.items():
            if self._slab_type is None:
                marked = rows[:, 0] >> np.uint64(self._slab_bit) & np.uint64(1)
            else:
                kind = self._at["page_type"]
                marked = (
                    rows[:, kind // 8] >> np.uint64(8 * (kind % 8) + 24) & np.uint64(0xFF) == self._slab_type
                )
            ours = rows[:, self._slab_cache // 8] == np.uint64(cache)
            for index in np.flatnonzero(ours & (marked != 0)):
                yield low + int(index)

    def _row(self, pfn: int) -> np.ndarray | None:
        for low, rows in self._sections.items():
            if low <= pfn < low + len(rows):
                return rows[pfn - low]  # type: ignore[no-any-return]  # numpy's
        return None


class _Walker:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._page_size = int(program["PAGE_SIZE"])
        self._shift = self._page_size.bit_length() - 1
        self._broken: list[Finding] = []
        self._notes: list[str] = []
        self._zspage = program.type("struct zspage")
        self._fields = {member.name for member in _flat(self._zspage)}
        self._pool_fields = {member.name for member in program.type("struct zs_pool").members}
        self._class_fields = {member.name for member in program.type("struct size_class").members}
        self._layout = _layout(self._fields)
        self._operations = program["zsmalloc_mops"].address_of_().value_()
        self._memory = _Memory(program, self._page_size)
        self._pages = _Pages(program, self._page_size)

    def heap(self) -> Heap:
        pools = [self._pool(each) for each in self._find_pools()]
        shift, tags, class_shift = self._split(pools)
        zspages, handles = self._slabs()
        return Heap(
            release=self._program["init_uts_ns"].name.release.string_().decode(),
            layout=self._layout,
            page_size=self._page_size,
            obj_shift=shift,
            tag_bits=tags,
            movable_word=0 if self._by_type is not None else self._operations | _MOVABLE,
            pools=tuple(pools),
            marked=tuple(self._marked()),
            nr_zspages=self._nr_zspages(),
            live_zspages=zspages,
            live_handles=handles,
            broken=tuple(self._broken),
            notes=tuple(self._notes),
            class_shift=class_shift,
        )

    def _break(self, rule: str, where: str, what: str) -> None:
        self._broken.append(Finding(rule, where, what))

    def _find_pools(self) -> Iterator[Object]:
        """Every pool has a shrinker, by which it is found whoever uses it."""
        scan = self._program["zs_shrinker_scan"].address_of_().value_()
        pool = self._program.type("struct zs_pool *")
        for shrinker in list_for_each_entry(
            "struct shrinker", self._program["shrinker_list"].address_of_(), "list"
        ):
            if shrinker.scan_objects.value_() != scan:
                continue
            if "private_data" in {member.name for member in shrinker.type_.type.members}:
                yield cast(pool, shrinker.private_data)
            else:
                yield drgn.container_of(shrinker, pool.type, "shrinker")

    def _pool(self, pool: Object) -> Pool:
        count = pool.size_class.type_.length or 0
        pointers = [pool.size_class[i].value_() for i in range(count)]
        classes = []
        busy = [name for name in ("lock", "migrate_lock") if name in self._pool_fields
                and _held(pool.member_(name))]  # fmt: skip
        for index, address in enumerate(pointers):
            where = f"{_name(pool)}, class {index}"
            if not address:
                self._break("list", where, "the pool has no such class")
                continue
            one = pool.size_class[index]
            if one.index.value_() != index:
                continue
            if "lock" in self._class_fields and _held(one.lock):
                busy.append(f"class {index}")
            classes.append(self._class(one, where))
        return Pool(
            name=_name(pool),
            address=pool.value_(),
            pages_allocated=pool.pages_allocated.counter.value_(),
            pages_compacted=_counter(pool.stats.pages_compacted),
            classes=tuple(classes),
            busy=tuple(busy),
        )

    def _class(self, one: Object, where: str) -> SizeClass:
        groups = one.fullness_list.type_.length or 0
        counts = [value.value_() for value in one.stats.objs]
        seen: dict[int, int] = {}
        zspages = []
        size, objects, pages = (int(one.member_(n)) for n in ("size", "objs_per_zspage", "pages_per_zspage"))
        for group in range(groups):
            for each in self._listed(one.fullness_list[group].address_of_(), group, where).found:
                address = each.value_()
                if address in seen:
                    self._break("list", f"{where}, zspage {address:#x}",
                                f"it is in the lists of groups {seen[address]} and {group}")  # fmt: skip
                    continue
                seen[address] = group
                try:
                    zspages.append(self._one(each, group, (size, objects, pages), where))
                except FaultError as error:
                    self._break("list", f"{where}, zspage {address:#x}", f"it is not in memory: {error}")
        return SizeClass(
            index=int(one.index),
            size=size,
            objects=objects,
            pages=pages,
            obj_allocated=counts[groups],
            obj_used=counts[groups + 1],
            counted=tuple(counts[:groups]),
            zspages=tuple(zspages),
        )

    def _listed(self, head: Object, group: int, where: str) -> _Zspages:
        """Follow a list, each entry's back pointer too, until it ends or breaks."""
        result = _Zspages(group)
        at, previous, start = head.next, head.value_(), head.value_()
        met: set[int] = set()
        name = f"{where}, group {group}"
        try:
            while at.value_() != start:
                address = at.value_()
                if address in met or len(met) > _LIST_LIMIT:
                    self._break("list", name, f"it comes back to the entry {address:#x} and not to its head")
                    return result
                met.add(address)
                back = at.prev.value_()
                if back != previous:
                    self._break("list", name, f"the entry {address:#x} points back to {back:#x}, "
                                f"not to {previous:#x}")  # fmt: skip
                    return result
                result.found.append(drgn.container_of(at, self._zspage, "list"))
                previous, at = address, at.next
            if head.prev.value_() != previous:
                self._break("list", name, f"the head's last entry is {head.prev.value_():#x}, "
                            f"not {previous:#x}")  # fmt: skip
        except FaultError as error:
            self._break("list", name, f"after {previous:#x} it leads out of memory: {error}")
        return result

    def _one(self, zspage: Object, group: int, shape: tuple[int, int, int], where: str) -> Zspage:
        address = zspage.value_()
        huge = bool(zspage.huge.value_())
        pages = tuple(self._components(zspage, shape[2], huge, f"{where}, zspage {address:#x}"))
        headers = self._headers(zspage, pages, shape, huge)
        handles = [header & ~_ALLOCATED for header in headers if header & _ALLOCATED]
        return Zspage(
            address=address,
            found_in=group,
            pool=zspage.pool.value_(),
            class_index=int(zspage.member_("class")),
            fullness=int(zspage.fullness),
            inuse=int(zspage.inuse),
            freeobj=int(zspage.freeobj),
            huge=huge,
            isolated=self._isolated(zspage),
            pages=pages,
            headers=headers,
            targets={handle: self._memory.word(handle) for handle in handles},
            owner_word=self._owner_word(zspage),
            head_mapping=zspage.desc.mapping.value_() if self._layout is Layout.HEAD else 0,
            head_refcount=int(zspage.desc._refcount.counter) if self._layout is Layout.HEAD else 0,
        )

    def _isolated(self, zspage: Object) -> int | None:
        """How many of its pages are isolated, as it counts them; None if it does not."""
        if self._layout is Layout.HEAD:
            return int(zspage.desc.isolated.value_()).bit_count()
        return int(zspage.isolated) if "isolated" in self._fields else None

    def _owner_word(self, zspage: Object) -> int:
        """What page->mapping must hold in a page of this zspage, or compound_head if that is the head."""
        if self._layout is Layout.HEAD:
            return int(zspage.value_()) | 1
        if self._layout is Layout.OWNER:
            return int(zspage.owner.address_of_().value_()) | _MOVABLE
        return 0 if self._by_type is not None else self._operations | _MOVABLE

    def _components(self, zspage: Object, count: int, huge: bool, where: str) -> Iterator[Page]:
        """Its pages in their order, as far as they can be followed."""
        if self._layout is not Layout.CHAIN:
            addresses = [zspage.pages[i].value_() for i in range(zspage.pages.type_.length or 0)]
            extra = [each for each in addresses[count:] if each]
            if extra:
                self._break("page", where, f"it has pages beyond its {count}: {extra[0]:#x}")
        else:
            first = "first_zpdesc" if "first_zpdesc" in self._fields else "first_page"
            addresses = [zspage.member_(first).value_()]
        met: set[int] = set()
        for position in range(count):
            address = addresses[position] if position < len(addresses) else 0
            pfn = self._pages.pfn(address)
            if pfn is None:
                self._break("page", where, f"its page {position} is no struct page: {address:#x}")
                return
            if pfn in met:
                self._break("page", where, f"its page {position} is one of its earlier pages: {address:#x}")
                return
            met.add(pfn)
            page = self._pages.page(pfn)
            if self._layout is Layout.CHAIN and not huge:
                addresses.append(page.index)
            yield page

    def _headers(
        self, zspage: Object, pages: tuple[Page, ...], shape: tuple[int, int, int], huge: bool
    ) -> tuple[int, ...]:
        """The first word of each object, in the order of their indices, as far as there are pages."""
        size, objects, _ = shape
        if huge:
            if "huge_handle" in self._fields:
                return (zspage.huge_handle.value_(),)
            if self._layout is Layout.HEAD:
                return (zspage.handle.value_(),)
            return (pages[0].index,) if pages else ()
        found = []
        contents = [self._program.read(page.pfn << self._shift, self._page_size, True) for page in pages]
        for index in range(objects):
            position, offset = divmod(index * size, self._page_size)
            if position >= len(contents):
                break
            found.append(int.from_bytes(contents[position][offset : offset + 8], "little"))
        return tuple(found)

    @property
    def _by_type(self) -> int | None:
        """The page type of zsmalloc's pages, where pages are moved by their type (since 6.18)."""
        if "first_zpdesc" not in self._fields:
            return None
        return int(self._program.constant("PGTY_zsmalloc"))

    def _marked(self) -> Iterator[Frame]:
        """Frames with zsmalloc's mark, those that no zspage knows any more too."""
        kind = self._by_type
        owned: dict[int, bool] = {}
        for low, heads, mappings, types in self._pages.columns():
            if kind is not None:
                found = np.flatnonzero(types >> np.uint64(24) == kind)
            elif self._layout is Layout.OWNER:
                tagged = np.flatnonzero(mappings & np.uint64(_TAGS) == _MOVABLE)
                found = np.array([i for i in tagged if self._is_ours(int(mappings[i]), owned)], dtype=int)
            elif self._layout is Layout.HEAD:
                tails = np.flatnonzero(heads & np.uint64(1))
                found = np.array([i for i in tails if self._is_our_head(int(heads[i]), owned)], dtype=int)
                mappings = heads
            else:
                found = np.flatnonzero(mappings == np.uint64(self._operations | _MOVABLE))
            for index in found:
                pfn = low + int(index)
                yield Frame(pfn, self._pages.base + pfn * self._pages.size, int(mappings[index]))

    def _is_our_head(self, word: int, known: dict[int, bool]) -> bool:
        """Whether a compound_head leads out of the memory map, to what has zsmalloc's operations."""
        if word not in known:
            head = word - 1
            known[word] = (
                self._pages.pfn(head) is None
                and self._memory.word(head + self._pages.mapping_at) == self._operations | _MOVABLE
            )
        return known[word]

    def _is_ours(self, word: int, known: dict[int, bool]) -> bool:
        """Whether an owner word leads to zsmalloc's operations."""
        if word not in known:
            owner = word & ~_TAGS
            known[word] = bool(owner) and self._memory.word(owner) == self._operations
        return known[word]

    def _nr_zspages(self) -> int:
        """The zones' count of zsmalloc's pages, what processors have not folded in yet included."""
        item = self._program.constant("NR_ZSPAGES")
        total = 0
        cpus = tuple(for_each_possible_cpu(self._program))
        for node in for_each_online_pgdat(self._program):
            for zone in node.node_zones:
                if not zone.present_pages:
                    continue
                total += zone.vm_stat[item].counter.value_()
                for cpu in cpus:
                    total += per_cpu_ptr(zone.per_cpu_zonestats, cpu).vm_stat_diff[item].value_()
        return int(total)

    def _slabs(self) -> tuple[frozenset[int] | None, frozenset[int] | None]:
        """The objects that are live in the caches of zspages and of handles, as SLUB has them."""
        if self._has("quarantine_seq") or self._has("global_quarantine"):
            self._notes.append("KASAN's quarantine keeps freed objects: lost ones were not looked for")
            return None, None
        return self._live("zspage_cachep", "struct zspage"), self._live("handle_cachep", "unsigned long")

    def _live(self, name: str, type_name: str) -> frozenset[int] | None:
        caches = {}
        if name in self._pool_fields:
            for pool in self._find_pools():
                cache = pool.member_(name)
                caches[cache.value_()] = cache
        else:
            caches[0] = self._program[name]
        found: set[int] = set()
        try:
            for cache in caches.values():
                found.update(self._objects(cache, type_name))
        except (FaultError, LookupError, ValueError, AttributeError, ValidationError) as error:
            self._notes.append(f"the slab cache {name} cannot be read: {error}")
            return None
        return frozenset(found)

    def _objects(self, cache: Object, type_name: str) -> Iterator[int]:
        """The live objects of a cache.

        drgn's public helper asks every page of the memory whether it is the cache's, which
        takes seconds; here the pages are known, and what is live in them is left to it.
        """
        pointer = self._program.pointer_type(self._program.type(type_name))
        helper: Any = _get_slab_cache_helper(cache)
        try:
            free = helper._sheaves_full_objects() | helper._per_cpu_info().free_objects
            # A panic takes the other processors offline, with the objects that they had at hand.
            for cpu in self._stopped_cpus():
                at_hand = per_cpu_ptr(cache.cpu_slab, cpu).freelist
                free |= helper._slub_get_freelist(lambda: "of a stopped processor", at_hand)
            helper._cache_free_objects = free
        except AttributeError:
            # Another version of drgn.
            yield from (each.value_() for each in slab_cache_for_each_allocated_object(cache, type_name))
            return
        for pfn in self._pages.slabs(cache.value_()):
            page = pfn_to_page(self._program, pfn)
            for each in helper._page_objects(page, cast("struct slab *", page), pointer):
                yield each.value_()

    def _stopped_cpus(self) -> set[int]:
        return set(for_each_possible_cpu(self._program)) - set(for_each_online_cpu(self._program))

    def _has(self, variable: str) -> bool:
        try:
            self._program[variable]
        except LookupError:
            return False
        return True

    def _split(self, pools: list[Pool]) -> tuple[int, int, int]:
        """How an object's value holds its frame, index and, in 7.3.4, class: what fits most of a sample.

        The shift of the frame, the bits of the tag, the shift of the class (0: it is not there).
        """
        sample = list(itertools.islice(_located(pools, self._page_size), _SAMPLE))
        for class_shifts in ((0,), _CLASS_SHIFTS):
            votes: Counter[tuple[int, int, int]] = Counter()
            for index, of_class, pfn, value in sample:
                for tags, shift, class_shift in itertools.product((0, 1), _SHIFTS, class_shifts):
                    expected = index | (of_class << class_shift if class_shift else 0)
                    bare = value >> tags
                    if bare >> shift == pfn and bare & ((1 << shift) - 1) == expected:
                        votes[shift, tags, class_shift] += 1
            if votes:
                # Where all indices are 0, several fit: then the tag is there as it is before 6.10.
                best = max(votes.values())
                return max((split for split, count in votes.items() if count == best), key=lambda s: s[1])
        return 0, 0, 0


def _located(pools: list[Pool], page_size: int) -> Iterator[tuple[int, int, int, int]]:
    """Index, class, frame and value of allocated objects, those with large indices first."""
    for pool in pools:
        for one in pool.classes:
            for zspage in one.zspages:
                for index in range(len(zspage.headers) - 1, -1, -1):
                    value = zspage.targets.get(zspage.headers[index] & ~_ALLOCATED)
                    if zspage.headers[index] & _ALLOCATED and value is not None:
                        yield index, one.index, zspage.pages[index * one.size // page_size].pfn, value
                        break


def _constant(program: Program, name: str) -> int | None:
    """An enumerator's value, None if the kernel has it not."""
    try:
        return int(program.constant(name))
    except LookupError:
        return None


def _flat(record: drgn.Type) -> Iterator[drgn.TypeMember]:
    """The members of a structure, those of anonymous ones in it too."""
    for member in record.members:
        if member.name is None:
            yield from _flat(member.type)
        else:
            yield member


def _layout(fields: set[str | None]) -> Layout:
    if "owner" in fields:
        return Layout.OWNER
    if "desc" in fields:
        return Layout.HEAD
    if {"first_page", "first_zpdesc"} & fields:
        return Layout.CHAIN
    raise CaptureError(
        "inspect", "struct zspage is of no form that is known: it has none of first_page, "
        "first_zpdesc, owner, desc",
    )  # fmt: skip


def _name(pool: Object) -> str:
    try:
        return str(pool.name.string_().decode("utf-8", "replace"))
    except FaultError:
        return f"pool {pool.value_():#x}"


def _counter(value: Object) -> int:
    """A plain number, or an atomic one."""
    return int(value.value_() if isinstance(value.value_(), int) else value.counter)


def _held(lock: Object) -> bool:
    """Whether anybody has a spinlock_t or a rwlock_t, or waits for it."""
    while "raw_lock" not in {member.name for member in _flat(lock.type_.unaliased())}:
        lock = lock.rlock
    return any(lock.raw_lock.to_bytes_())
