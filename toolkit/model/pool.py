# SPDX-License-Identifier: GPL-2.0-only
"""One zsmalloc pool, zspage by zspage: the plain reference that all else must equal.

Followed here, from mm/zsmalloc.c of 6.1.192, 6.12.117 and 7.3.4: which zspage an allocation
takes, which object of it, where in its group's list a zspage goes, and what
zs_compact() moves where.  Page migration changes none of these.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from toolkit.errors import TraceError
from toolkit.model.geometry import Geometry, Rules, SizeClass, group_by_quarter, group_by_tenth

# The values of group_by_quarter().
_EMPTY, _ALMOST_EMPTY, _ALMOST_FULL, _FULL = range(4)


@dataclass(frozen=True)
class ClassRow:
    """One line of debugfs `classes`.

    fullness: zspages in each of Geometry.fullness_columns; obj_allocated and obj_used
    in objects; pages_used, pages_per_zspage and freeable in pages.
    """

    index: int
    size: int
    fullness: tuple[int, ...]
    obj_allocated: int
    obj_used: int
    pages_used: int
    pages_per_zspage: int
    freeable: int


@dataclass(frozen=True)
class ZspageLayout:
    """What one zspage holds.

    objects: the handle in each of its N places, None where it is free; free: the
    places that are free, in the order in which they will be handed out.
    """

    objects: tuple[int | None, ...]
    free: tuple[int, ...]


# By size class, by fullness group: the zspages of its list, from the head on.
Layout = tuple[tuple[tuple[ZspageLayout, ...], ...], ...]


class _Link:
    """A place in a ring, at first of its own."""

    __slots__ = ("after", "before")

    def __init__(self) -> None:
        self.before: _Link = self
        self.after: _Link = self


class _Zspage(_Link):
    """A zspage: the handles by place, and a stack of free places (the last goes out first)."""

    __slots__ = ("free", "group", "locked", "objects", "size_class")

    def __init__(self, size_class: SizeClass) -> None:
        super().__init__()
        places = size_class.objects
        self.size_class = size_class
        self.objects: list[int | None] = [None] * places
        self.free = list(range(places - 1, -1, -1))
        self.group = 0
        # How many of its pages somebody else has locked.
        self.locked = 0

    @property
    def inuse(self) -> int:
        return len(self.objects) - len(self.free)

    def add(self, handle: int) -> int:
        place = self.free.pop()
        self.objects[place] = handle
        return place

    def drop(self, place: int) -> None:
        self.objects[place] = None
        self.free.append(place)


# By handle: its zspage, and its place there.
_Places = dict[int, tuple[_Zspage, int]]
# The handles that were moved, each with the zspage that it was moved to.
_Moves = list[tuple[int, _Zspage]]


class _List(_Link):
    """A list of zspages in the kernel's manner: a ring, of which it is the head."""

    __slots__ = ("length",)

    def __init__(self) -> None:
        super().__init__()
        self.length = 0

    @property
    def first(self) -> _Zspage | None:
        first = self.after
        return first if isinstance(first, _Zspage) else None

    def insert(self, zspage: _Zspage, behind: _Zspage | None = None) -> None:
        """At the front, or right behind another one."""
        before = self if behind is None else behind
        zspage.before, zspage.after = before, before.after
        before.after.before = zspage
        before.after = zspage
        self.length += 1

    def remove(self, zspage: _Zspage) -> None:
        zspage.before.after = zspage.after
        zspage.after.before = zspage.before
        self.length -= 1

    def __iter__(self) -> Iterator[_Zspage]:
        zspage = self.after
        while isinstance(zspage, _Zspage):
            yield zspage
            zspage = zspage.after


class _Class(ABC):
    """The state of one size class, and the rules that 6.1 and 6.12 share."""

    groups: int
    # The groups in which an allocation looks for room, in that order.
    search: tuple[int, ...]

    def __init__(self, size_class: SizeClass) -> None:
        self.size_class = size_class
        self.lists = tuple(_List() for _ in range(self.groups))
        self.zspages = 0
        self.used = 0

    @abstractmethod
    def group_of(self, inuse: int) -> int:
        """The fullness group of a zspage with that many objects."""

    @abstractmethod
    def insert(self, zspage: _Zspage) -> None:
        """insert_zspage(): put it into the list of its group."""

    @abstractmethod
    def step(self, places: _Places, most: int | None = None, /) -> tuple[_Moves, bool]:
        """__zs_compact() with one source, what it does without letting go of its lock.

        What was moved, and whether the source was freed.  After `most` moves it finds, where
        it looks for that, that somebody waits for the lock.
        """

    @abstractmethod
    def fullness(self) -> tuple[int, ...]:
        """Zspages by Geometry.fullness_columns."""

    @property
    def freeable(self) -> int:
        """zs_can_compact(), in zspages."""
        return self.zspages - -(-self.used // self.size_class.objects)

    def first(self, groups: Iterable[int]) -> _Zspage | None:
        """The head of the first list that is not empty."""
        for group in groups:
            first = self.lists[group].after
            # An empty list is a ring of its head alone.
            if isinstance(first, _Zspage):
                return first
        return None

    def take(self, groups: Iterable[int]) -> _Zspage | None:
        """The same, taken off its list."""
        zspage = self.first(groups)
        if zspage is not None:
            self.lists[zspage.group].remove(zspage)
        return zspage

    def fix_group(self, zspage: _Zspage) -> None:
        """fix_fullness_group(): nothing moves within its group."""
        if self.group_of(zspage.inuse) != zspage.group:
            self.lists[zspage.group].remove(zspage)
            self.insert(zspage)

    def compact(self, places: _Places) -> int:
        """__zs_compact(): the number of zspages that it freed."""
        freed = 0
        while self.step(places)[1]:
            freed += 1
        return freed

    def alloc(self, handle: int, *, fresh: bool = False) -> tuple[_Zspage, int]:
        """Into the zspage that is found, or a new one: if `fresh`, though one is found."""
        zspage = None if fresh else self.first(self.search)
        if zspage is None:
            zspage = _Zspage(self.size_class)
            self.zspages += 1
            place = zspage.add(handle)
            self.insert(zspage)
        else:
            place = zspage.add(handle)
            self.fix_group(zspage)
        self.used += 1
        return zspage, place

    def free(self, zspage: _Zspage, place: int) -> None:
        zspage.drop(place)
        self.used -= 1
        self.fix_group(zspage)
        if not zspage.inuse:
            self.release(zspage)

    def release(self, zspage: _Zspage) -> None:
        """free_zspage() of an empty one: it stays, to be freed later, while a page of it is locked."""
        if not zspage.locked:
            self.lists[zspage.group].remove(zspage)
            self.zspages -= 1

    def release_deferred(self) -> None:
        """async_free_zspage(): whatever is empty and not locked."""
        for zspage in list(self.lists[0]):
            self.release(zspage)

    def row(self) -> ClassRow:
        n, p = self.size_class.objects, self.size_class.pages
        return ClassRow(
            index=self.size_class.index,
            size=self.size_class.size,
            fullness=self.fullness(),
            obj_allocated=self.zspages * n,
            obj_used=self.used,
            pages_used=self.zspages * p,
            pages_per_zspage=p,
            freeable=self.freeable * p,
        )


class _QuarterClass(_Class):
    """A size class by the rules of 6.1."""

    groups = 4
    search = (_ALMOST_FULL, _ALMOST_EMPTY, _EMPTY)

    def group_of(self, inuse: int) -> int:
        return group_by_quarter(inuse, self.size_class.objects)

    def insert(self, zspage: _Zspage) -> None:
        """insert_zspage(): second if the head holds more, else first."""
        zspage.group = self.group_of(zspage.inuse)
        target = self.lists[zspage.group]
        head = target.first
        target.insert(zspage, head if head is not None and zspage.inuse < head.inuse else None)

    def fullness(self) -> tuple[int, ...]:
        return self.lists[_ALMOST_FULL].length, self.lists[_ALMOST_EMPTY].length

    def step(self, places: _Places, most: int | None = None, /) -> tuple[_Moves, bool]:
        """The source is taken off its list before anything is known to be freeable."""
        moves: _Moves = []
        source = self.take((_ALMOST_EMPTY, _ALMOST_FULL))
        if source is None:
            return moves, False
        emptied = self.freeable > 0 and self._empty_out(source, places, moves, most)
        self.insert(source)
        if emptied:
            self.release(source)
        return moves, emptied

    def _empty_out(self, source: _Zspage, places: _Places, moves: _Moves, most: int | None) -> bool:
        """Move the source's objects, in order of place, into one zspage after the other.

        A destination is put back when an object finds it full, or with the last object.
        """
        live = iter([place for place, handle in enumerate(source.objects) if handle is not None])
        place = next(live, None)
        while target := self.take((_ALMOST_FULL, _ALMOST_EMPTY)):
            while place is not None and target.free:
                moves.append(_move(source, place, target, places))
                place = next(live, None)
            self.insert(target)
            if place is None:
                return True
            if len(moves) == most:
                return False
        return False


class _TenthClass(_Class):
    """A size class by the rules of 6.12 and later."""

    groups = 12
    search = tuple(range(10, -1, -1))

    def group_of(self, inuse: int) -> int:
        return group_by_tenth(inuse, self.size_class.objects)

    def insert(self, zspage: _Zspage) -> None:
        zspage.group = self.group_of(zspage.inuse)
        self.lists[zspage.group].insert(zspage)

    def fullness(self) -> tuple[int, ...]:
        return tuple(group.length for group in self.lists[1:])

    def step(self, places: _Places, _most: int | None = None, /) -> tuple[_Moves, bool]:
        """From the emptiest into the fullest; who waits for the lock waits for that.

        The target is kept until it is full, which is the same as to put it back and to take it again:
        sources have less, so that it stays the head of the fullest group.
        """
        moves: _Moves = []
        if self.freeable <= 0 or (target := self.take(range(10, 0, -1))) is None:
            return moves, False
        source = self.take(range(1, 11))
        if source is not None:
            for place, handle in enumerate(source.objects):
                if not target.free:
                    break
                if handle is not None:
                    moves.append(_move(source, place, target, places))
            self.insert(source)
        self.insert(target)
        if source is None or source.inuse:
            return moves, False
        self.release(source)
        return moves, True

    def compact(self, places: _Places) -> int:
        """A source that was not emptied filled its target: it goes on with another one."""
        freed = 0
        while (done := self.step(places))[0]:
            freed += done[1]
        return freed


_CLASSES: dict[Rules, type[_Class]] = {
    Rules.SEARCH_BY_QUARTER: _QuarterClass,
    Rules.SEARCH_BY_TENTH: _TenthClass,
}


class Pool:
    """One pool, from zs_create_pool() on.

    Handles are any integers that are unique while they live.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self._classes = tuple(_CLASSES[geometry.rules](c) for c in geometry.classes)
        self._places: _Places = {}
        self._sizes: dict[int, int] = {}
        self.pages = 0
        self.pages_peak = 0
        self.pages_compacted = 0

    def __contains__(self, handle: int) -> bool:
        return handle in self._places

    @property
    def sizes(self) -> Iterable[int]:
        """The bytes asked for, of each live object."""
        return self._sizes.values()

    def alloc(self, size: int, handle: int, *, fresh: bool = False) -> None:
        """zs_malloc(size) that returned `handle`; TraceError if that cannot be.

        `fresh`: it takes a new zspage although there is room by now.
        """
        if handle in self._places:
            raise TraceError(f"zs_malloc() returned handle {handle:#x}, which is in use")
        try:
            state = self._classes[self.geometry.position(size)]
        except ValueError as error:
            raise TraceError(f"zs_malloc() succeeded, but {error}") from None
        zspages = state.zspages
        self._places[handle] = state.alloc(handle, fresh=fresh)
        self._sizes[handle] = size
        self.pages += (state.zspages - zspages) * state.size_class.pages
        self.pages_peak = max(self.pages_peak, self.pages)

    def pages_wanted(self, size: int) -> int:
        """The pages that zs_malloc(size) would have to get first: 0 if there is room."""
        state = self._classes[self.geometry.position(size)]
        return 0 if state.first(state.search) else state.size_class.pages

    def room(self, position: int) -> object | None:
        """The zspage of a class, by identity, that zs_malloc() would take; None if all are full."""
        state = self._classes[position]
        return state.first(state.search)

    def position_of(self, handle: int) -> int:
        """The position of the class of a live object; TraceError if it is none."""
        try:
            return self.geometry.position(self._sizes[handle])
        except KeyError:
            raise TraceError(f"handle {handle:#x} is not in use") from None

    def free(self, handle: int) -> None:
        """zs_free(handle); TraceError if it is not in use."""
        try:
            zspage, place = self._places.pop(handle)
        except KeyError:
            raise TraceError(f"zs_free() of handle {handle:#x}, which is not in use") from None
        state = self._classes[self.geometry.position(self._sizes.pop(handle))]
        zspages = state.zspages
        state.free(zspage, place)
        self.pages -= (zspages - state.zspages) * state.size_class.pages

    def compact(self) -> int:
        """zs_compact(), from the largest class down: the pages that it says it freed.

        It counts those, too, that are freed later because one of them is locked.
        """
        freed = 0
        for state in reversed(self._classes):
            zspages = state.zspages
            if not zspages:
                continue
            freed += state.compact(self._places) * state.size_class.pages
            self.pages -= (zspages - state.zspages) * state.size_class.pages
        self.pages_compacted += freed
        return freed

    def compact_step(self, position: int, most: int | None) -> tuple[tuple[int, object], ...]:
        """zs_compact() with one source of a class: the handles that it moved, and to which zspage each.

        After `most` moves somebody waits for the lock.
        """
        state = self._classes[position]
        zspages = state.zspages
        moves, freed = state.step(self._places, most)
        self.pages -= (zspages - state.zspages) * state.size_class.pages
        self.pages_compacted += freed * state.size_class.pages
        return tuple(moves)

    def page_of(self, handle: int) -> tuple[object, int]:
        """The zspage of a live object, by identity, and in which of its pages the object begins."""
        zspage, place = self._places[handle]
        return zspage, place * zspage.size_class.size // self.geometry.page_size

    def hold(self, handle: int) -> Callable[[], None]:
        """Lock one page of the zspage of a live object; call what is returned to unlock it.

        Neither zs_free() nor zs_compact() frees a zspage of which a page is locked:
        they leave it empty, and work that runs later frees it.
        """
        zspage, _ = self._places[handle]
        zspage.locked += 1

        def release() -> None:
            zspage.locked -= 1

        return release

    def pages_kept(self, handle: int) -> Callable[[], int]:
        """What tells how many pages somebody keeps who has a reference to the zspage of a live object.

        None as long as it has objects, and all of them when it was freed meanwhile.
        """
        zspage, _ = self._places[handle]
        pages = zspage.size_class.pages
        return lambda: 0 if zspage.inuse else pages

    def neighbours(self, handle: int) -> tuple[int, ...]:
        """The live objects of the zspage that holds `handle`, itself included."""
        return tuple(other for other in self._places[handle][0].objects if other is not None)

    def run_deferred(self) -> None:
        """The deferred work: frees whatever is empty and not locked."""
        for state in self._classes:
            zspages = state.zspages
            state.release_deferred()
            self.pages -= (zspages - state.zspages) * state.size_class.pages

    def table(self) -> tuple[ClassRow, ...]:
        """debugfs `classes` without its totals: every distinct class, smallest first."""
        return tuple(state.row() for state in self._classes)

    def layout(self) -> Layout:
        """Every zspage, list by list in order: all that zsmalloc will decide by."""
        return tuple(
            tuple(
                tuple(ZspageLayout(tuple(z.objects), tuple(reversed(z.free))) for z in group)
                for group in state.lists
            )
            for state in self._classes
        )


def _move(source: _Zspage, place: int, target: _Zspage, places: _Places) -> tuple[int, _Zspage]:
    handle = source.objects[place]
    assert handle is not None
    places[handle] = (target, target.add(handle))
    source.drop(place)
    return handle, target
