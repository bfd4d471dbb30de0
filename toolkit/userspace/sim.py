# SPDX-License-Identifier: GPL-2.0-only
"""Run the tree's zsmalloc and the reference model side by side, and shrink what differs."""

from __future__ import annotations

import contextlib
import enum
import functools
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from toolkit.deadline import Deadline
from toolkit.errors import CrashError, DeadlineError, HangError
from toolkit.model.geometry import HANDLE_SIZE, Geometry, Rules
from toolkit.model.pool import Pool
from toolkit.userspace.build import Program
from toolkit.userspace.library import (
    EBUSY,
    EINVAL,
    ENOMEM,
    ENOSPC,
    REFUSED,
    Library,
    ListLayout,
    Request,
    Row,
    open_library,
)

# Pages that were isolated and not yet moved or put back, at most.
_ISOLATED_AT_MOST = 8
# Of each class, so that two can be emptied into one.
_ZSPAGES = 3
# The requests without which a run proves little.
_ESSENTIAL = (
    Request.MALLOC,
    Request.FREE,
    Request.VERIFY,
    Request.COMPACT,
    Request.MOVE,
    Request.MIGRATE,
    Request.PUTBACK,
    Request.HOLD,
    Request.DESTROY,
)


# Any answer that is not an error: no errno is so large.
_SUCCESS = 1 << 62
# Five requests, on a busy host.
_PROBE_S = 60.0


@dataclass(frozen=True)
class Difference:
    """Where the two parted: `requests` is a shortest known sequence that shows it.

    what: one line; expected and seen: the model's and the tree's side, if both spoke;
    detail: what the program said last, if it crashed.
    """

    what: str
    expected: str
    seen: str
    requests: tuple[Row, ...]
    detail: str = ""

    @property
    def kind(self) -> str:
        """What went wrong without the numbers: shrinking must not end at something else."""
        return re.sub(r"0x[0-9a-f]+|\d+", "N", self.what)

    def as_pytest(self, geometry: Geometry, name: str = "found_by_sim") -> str:
        """A test that fails for as long as the difference is there.

        It uses the fixture `library` of tests/userspace/conftest.py.
        """
        lines = [f"        (Request.{Request(op).name}, {a}, {b}, {c}),\n" for op, a, b, c in self.requests]
        return (
            f"def test_{name}(library: Library) -> None:\n"
            f"    # {self.what}\n"
            f"    made = geometry({geometry.rules.value!r}, {geometry.page_size}, {geometry.chain_size})\n"
            f"    requests: list[Row] = [\n{''.join(lines)}    ]\n"
            f"    assert compare(library, made, requests) is None\n"
        )


@dataclass(frozen=True)
class Simulation:
    """What a differential run did: `difference` is None if the two never differed.

    done: how many requests of each kind were carried out; those that were refused or
    failed do not count.
    """

    seed: int
    done: Mapping[str, int]
    difference: Difference | None

    @property
    def never_done(self) -> tuple[str, ...]:
        """What a run must have done to prove anything, and this one did not."""
        return tuple(kind.name for kind in _ESSENTIAL if not self.done.get(kind.name))


def simulate(
    program: Program,
    geometry: Geometry,
    *,
    operations: int,
    seed: int,
    deadline: Deadline,
    shrink_s: float = 60.0,
) -> Simulation:
    """Random requests to one pool, on both sides, compared throughout; then some to each class.

    Allocation, freeing, compaction by hand and by the shrinker, migration in one step
    and in two, pages that are locked when their zspage is emptied, failing page and
    slab allocations. Answers are compared always, class tables and the place of every
    object now and then; at the end the pool is emptied and nothing may be left.  A
    sequence that differs is shrunk for at most `shrink_s` seconds.
    """
    done: Counter[str] = Counter()
    try:
        with open_library(program, deadline=deadline) as library:
            difference = _side_by_side(library, geometry, seed, done, operations)
            if difference is None:
                difference = _side_by_side(library, geometry, seed, done, None)
    except (CrashError, HangError) as error:
        # Before the first request, or after the last.
        return Simulation(seed, done, Difference(error.message, "", "", (), error.detail))
    if difference is not None:
        difference = _shrink(program, geometry, difference, deadline.at_most(shrink_s))
    return Simulation(seed, done, difference)


def simulate_each(
    program: Program, geometry: Geometry, *, operations: int, seeds: Iterable[int], deadline: Deadline
) -> Iterator[Simulation]:
    """As simulate() of one seed after the other, but in one process: to start it takes longer than to use it.

    A seed that differs is begun anew in a process of its own; should it not differ there, it
    is told as it was seen first, and so are the seeds before which it needs.
    """
    ahead = iter(seeds)
    with contextlib.ExitStack() as stack:
        library = stack.enter_context(open_library(program, deadline=deadline))
        for seed in ahead:
            done: Counter[str] = Counter()
            found = _side_by_side(library, geometry, seed, done, operations)
            if found is None:
                yield Simulation(seed, done, None)
                continue
            alone = simulate(program, geometry, operations=operations, seed=seed, deadline=deadline)
            yield alone if alone.difference is not None else Simulation(seed, done, found)
            stack.close()
            library = stack.enter_context(open_library(program, deadline=deadline))


def _side_by_side(
    library: Library, geometry: Geometry, seed: int, done: Counter[str], operations: int | None
) -> Difference | None:
    """What differs first, with all requests up to there; nothing may be left of them if nothing does.

    So many random requests, or those to each class if None.
    """
    side = _ModelSide(geometry, isolation=isolation_of(library.program))
    generator = random.Random(seed)
    rows = _each_class(generator, side) if operations is None else _requests(generator, side, operations)
    sent: list[Row] = []
    for batch in _batches(rows, side):
        requests = [row for row, _ in batch]
        difference = _compare_batch(library, side, requests, [answer for _, answer in batch], done)
        if difference is not None:
            return replace(difference, requests=(*sent, *difference.requests))
        sent += requests
    return None


def compare(library: Library, geometry: Geometry, requests: Sequence[Row]) -> Difference | None:
    """Carry out `requests` on a fresh library and a fresh model; how they differ, if they do."""
    side = _ModelSide(geometry, isolation=isolation_of(library.program))
    return _compare_batch(library, side, list(requests), [side.apply(row) for row in requests], Counter())


class Isolation(enum.Enum):
    """What an isolated page does to its zspage. All of them are right, and the model follows."""

    # Mainline: an empty zspage is freed at once, and migration is left with the page.
    OF_PAGE = enum.auto()
    # It stays in its pool, empty, until the page is back.
    PINS = enum.auto()
    # It leaves the pool at once, but keeps its pages until the last reference is gone, be it
    # of an isolated page or of a holder. Its pages have one isolator at a time.
    OUTLIVES = enum.auto()


@functools.cache
def isolation_of(program: Program) -> Isolation:
    """Which of them a program has, found out by doing it.

    A program that cannot even do that is taken for mainline: comparing will tell.
    """
    pool, identity = 15, 0
    requests = [
        (Request.CREATE, pool, 0, 0),
        (Request.MALLOC, pool, 100, identity),
        (Request.ISOLATE, 0, 0, identity),
        (Request.FREE, 0, 0, identity),
        (Request.TOTAL_PAGES, pool, 0, 0),
        (Request.ZONE_PAGES, 0, 0, 0),
    ]
    try:
        with open_library(program, deadline=Deadline.after(_PROBE_S)) as library:
            in_pool, in_zones = library.submit(requests).tolist()[-2:]
    except (CrashError, HangError):
        return Isolation.OF_PAGE
    if in_pool:
        return Isolation.PINS
    return Isolation.OUTLIVES if in_zones else Isolation.OF_PAGE


def _compare_batch(
    library: Library,
    side: _ModelSide,
    requests: list[Row],
    expected: list[int | None],
    done: Counter[str],
) -> Difference | None:
    """Answers one by one, then the state after the last of them."""
    try:
        answers = library.submit(requests).tolist()
        for at, (row, wanted, answer) in enumerate(zip(requests, expected, answers, strict=True)):
            if wanted is not None and not _is_as_wanted(wanted, answer):
                return Difference(
                    f"{describe(row)} gave another answer",
                    _answer(wanted),
                    _answer(answer),
                    tuple(requests[: at + 1]),
                )
            done[Request(row[0]).name] += answer >= 0
        return _compare_state(library, side, tuple(requests))
    except CrashError as error:
        return Difference(error.message, "", "", tuple(requests), error.detail)
    except HangError as error:
        return Difference(error.message, "", "", tuple(requests))


def _compare_state(library: Library, side: _ModelSide, requests: tuple[Row, ...]) -> Difference | None:
    if side.pool is None:
        for what, before in (
            (Request.PAGES_TAKEN, 0),
            (Request.ZONE_PAGES, 0),
            (Request.SLAB_OBJECTS, library.slab_objects_at_start),
        ):
            left = library.ask(what)
            if left != before:
                message = f"{what.name} after the last pool was destroyed"
                return Difference(message, str(before), str(left), requests)
        return None
    table = side.pool.table()
    try:
        seen_table = library.classes(0, side.pool.geometry)
    except (ValueError, KeyError) as error:
        return Difference("the class table cannot be read", "", str(error), requests)
    if len(seen_table) != len(table):
        return Difference("the number of size classes", str(len(table)), str(len(seen_table)), requests)
    for wanted, seen in zip(table, seen_table, strict=True):
        if wanted != seen:
            return Difference("the class table", str(wanted), str(seen), requests)
    numbers = (
        (Request.TOTAL_PAGES, side.pool.pages),
        (Request.ZONE_PAGES, side.pool.pages + side.pages_kept),
        (Request.PAGES_COMPACTED, side.pool.pages_compacted),
        (Request.SHRINK_COUNT, sum(row.freeable for row in table)),
        (Request.HUGE_SIZE, side.pool.geometry.huge_class_size),
    )
    for what, number in numbers:
        answer = library.ask(what)
        if answer != number:
            return Difference(what.name, str(number), str(answer), requests)
    wanted_lists = _lists(side.pool)
    seen_lists = library.layout(0)
    for key in sorted(wanted_lists.keys() | seen_lists.keys()):
        wanted_list, seen_list = wanted_lists.get(key, []), seen_lists.get(key, [])
        if wanted_list != seen_list:
            return Difference(
                f"the list of class {key[0]}, group {key[1]}", str(wanted_list), str(seen_list), requests
            )
    return None


def _nothing() -> None:
    pass


def _lists(pool: Pool) -> ListLayout:
    """The model's layout in the shape of Library.layout()."""
    lists: ListLayout = {}
    for size_class, groups in zip(pool.geometry.classes, pool.layout(), strict=True):
        for number, group in enumerate(groups):
            if group:
                lists[size_class.index, number] = [
                    {place: handle for place, handle in enumerate(zspage.objects) if handle is not None}
                    for zspage in group
                ]
    return lists


class _ModelSide:
    """The model behind the requests: what each of them must answer, None for anything."""

    def __init__(self, geometry: Geometry, *, isolation: Isolation) -> None:
        self.geometry = geometry
        self._isolation = isolation
        self.pool: Pool | None = None
        # The live objects, and where in that list each of them is.
        self.live: list[int] = []
        self._at: dict[int, int] = {}
        # Pages that are isolated, the last one last, each with what ends that.
        self.isolated: list[tuple[tuple[object, int], Callable[[], None]]] = []
        self._holders: dict[int, Callable[[], None]] = {}
        # References to zspages: which one, and what tells how many pages it keeps.
        self._references: list[tuple[object, Callable[[], int]]] = []
        self._fail_page = 0
        self._fail_slab = 0
        self._identities = 0

    def next_identity(self) -> int:
        """An id that was never used."""
        self._identities += 1
        return self._identities - 1

    def some_live(self, generator: random.Random) -> int | None:
        """A live object by chance, None if there is none."""
        if not self.live:
            return None
        return generator.choice(self.live)

    def apply(self, row: Row) -> int | None:
        op, a, b, c = row
        if op in (Request.FAIL_PAGE, Request.FAIL_SLAB):
            if op == Request.FAIL_PAGE:
                self._fail_page = b
            else:
                self._fail_slab = b
            return 0
        if op == Request.CREATE:
            return self._create()
        if self.pool is None:
            # What is not about a pool may still be about an isolated page of a former one.
            return 0 if op == Request.RUN_WORK else None
        if op == Request.MALLOC:
            return self._malloc(self.pool, b, c)
        if op == Request.FREE:
            if c not in self._at:
                return REFUSED
            self.pool.free(c)
            self._forget(c)
            return 0
        if op in (Request.VERIFY, Request.REWRITE):
            return 0 if c in self._at else REFUSED
        if op == Request.COMPACT:
            return self.pool.compact()
        if op == Request.SHRINK_SCAN:
            freed = self.pool.compact()
            # SHRINK_STOP, an unsigned long of all ones.
            return freed or -1
        if op == Request.ISOLATE:
            return self._isolate(self.pool, c)
        if op in (Request.MIGRATE, Request.PUTBACK):
            if b >= len(self.isolated):
                return REFUSED
            self._back(len(self.isolated) - 1 - b)
            return 0 if op == Request.PUTBACK else None
        if op == Request.HOLD:
            if a in self._holders or c not in self._at:
                return REFUSED
            # Should that very page be locked already, the tree answers -EBUSY: one holder at a time.
            outlives = self._isolation is Isolation.OUTLIVES
            self._holders[a] = self._refer(self.pool, c) if outlives else self.pool.hold(c)
            return None
        if op == Request.RELEASE:
            holder = self._holders.pop(a, None)
            if holder is None:
                return REFUSED
            holder()
            return 0
        if op == Request.RUN_WORK:
            if self._holders:
                return REFUSED
            self.pool.run_deferred()
            return 0
        if op == Request.DESTROY:
            return self._destroy()
        return None

    def _create(self) -> int:
        if self.pool is not None:
            return REFUSED
        failing = self._fail_slab
        self._fail_page = self._fail_slab = 0
        if failing:
            return -ENOMEM
        self.pool = Pool(self.geometry)
        return 0

    def _destroy(self) -> int:
        if self.live or self._holders:
            return REFUSED
        self.pool = None
        self.isolated.clear()
        self._references.clear()
        return 0

    def _isolate(self, pool: Pool, identity: int) -> int | None:
        if identity not in self._at:
            return REFUSED
        page = pool.page_of(identity)
        taken = [other for other, _ in self.isolated]
        if page in taken:
            return -EBUSY
        if self._isolation is Isolation.PINS:
            end = pool.hold(identity)
        elif self._isolation is Isolation.OUTLIVES:
            if any(page[0] is zspage for zspage, _ in taken):
                return -EBUSY
            end = self._refer(pool, identity)
        else:
            end = _nothing
        self.isolated.append((page, end))
        # The number of the page; one that is held cannot be had.
        return None if self._holders else _SUCCESS

    def _back(self, at: int) -> None:
        _, end = self.isolated.pop(at)
        end()

    def _refer(self, pool: Pool, identity: int) -> Callable[[], None]:
        """Take a reference to the zspage of a live object; call what is returned to drop it."""
        reference = (pool.page_of(identity)[0], pool.pages_kept(identity))
        self._references.append(reference)
        return lambda: self._references.remove(reference)

    @property
    def pages_kept(self) -> int:
        """Pages of zspages that have left the pool, but not the zones."""
        return sum(kept() for kept in dict(self._references).values())

    def _malloc(self, pool: Pool, size: int, identity: int) -> int:
        if identity in self._at:
            return REFUSED
        fail_page, fail_slab = self._fail_page, self._fail_slab
        self._fail_page = self._fail_slab = 0
        if size == 0:
            return -EINVAL
        if size > self.geometry.page_size:
            return -EINVAL if self.geometry.rules is Rules.SEARCH_BY_QUARTER else -ENOSPC
        wanted = pool.pages_wanted(size)
        # The first object of a slab is the handle, the second the zspage.
        if fail_slab == 1 or (wanted and fail_slab == 2) or 0 < fail_page <= wanted:
            return -ENOMEM
        pool.alloc(size, identity)
        self._at[identity] = len(self.live)
        self.live.append(identity)
        return 0

    def _forget(self, identity: int) -> None:
        at = self._at.pop(identity)
        last = self.live.pop()
        if last != identity:
            self.live[at] = last
            self._at[last] = at


def _batches(rows: Iterable[Row], side: _ModelSide) -> Iterator[list[tuple[Row, int | None]]]:
    """Requests with what the model answers, in batches of some hundred."""
    batch: list[tuple[Row, int | None]] = []
    for row in rows:
        batch.append((row, side.apply(row)))
        if len(batch) >= 400:
            yield batch
            batch = []
    yield batch


def _requests(generator: random.Random, side: _ModelSide, operations: int) -> Iterator[Row]:
    """Two or three pools one after the other, filled and drained in phases; each ends empty."""
    lives = generator.choice([2, 3])
    for _ in range(lives):
        yield Request.CREATE, 0, 0, 0
        for number in range(operations // lives):
            if number % 500 == 0:
                filling = generator.choice([0.35, 0.45, 0.55, 0.7])
                sizes = [_size(generator, side.geometry) for _ in range(generator.choice([1, 3, 10]))]
            yield from _step(generator, side, sizes, filling)
        yield from _settle(generator, side)
        # Destruction may find deferred work pending, and pages isolated.
        if (some := side.some_live(generator)) is not None:
            yield from _free_while_held(generator, side, sizes, some)
        for identity in list(side.live):
            yield Request.FREE, 0, 0, identity
        yield Request.DESTROY, 0, 0, 0


def _each_class(generator: random.Random, side: _ModelSide) -> Iterator[Row]:
    """Some zspages of each class, of whose objects a third stays: compaction has to do with every class.

    The one before that finds none.
    """
    yield Request.CREATE, 0, 0, 0
    yield Request.COMPACT, 0, 0, 0
    for size_class in side.geometry.classes:
        for _ in range(_ZSPAGES * size_class.objects):
            yield Request.MALLOC, 0, size_class.size - HANDLE_SIZE, side.next_identity()
    for identity in list(side.live):
        if generator.random() < 2 / 3:
            yield Request.FREE, 0, 0, identity
    yield Request.COMPACT, 0, 0, 0
    for identity in list(side.live):
        yield Request.VERIFY, 0, 0, identity
        yield Request.FREE, 0, 0, identity
    yield Request.DESTROY, 0, 0, 0


def _size(generator: random.Random, geometry: Geometry) -> int:
    """A size by chance; a whole page, and the largest of a class or one more, more often than others."""
    chance = generator.random()
    if chance < 0.15:
        return geometry.page_size
    if chance < 0.3:
        largest = generator.choice(geometry.classes).size - HANDLE_SIZE
        return min(geometry.page_size, largest + generator.randint(0, 1))
    return generator.randint(1, geometry.page_size)


def _step(generator: random.Random, side: _ModelSide, sizes: list[int], filling: float) -> Iterator[Row]:
    """One or a few requests that make sense together."""
    assert side.pool is not None
    chance = generator.random()
    some = side.some_live(generator)
    if some is None or chance < 0.90:
        if some is None or (len(side.live) < 3000 and generator.random() < filling):
            size = generator.choice(sizes)
            wanted = side.pool.pages_wanted(size)
            if wanted and generator.random() < 0.05:
                yield Request.FAIL_PAGE, 0, generator.randint(1, wanted), 0
            elif generator.random() < 0.005:
                yield Request.FAIL_SLAB, 0, generator.randint(1, 2), 0
            yield Request.MALLOC, 0, size, side.next_identity()
        else:
            yield Request.FREE, 0, 0, some
    elif chance < 0.92:
        yield generator.choice([Request.COMPACT, Request.SHRINK_SCAN]), 0, 0, 0
    elif chance < 0.95:
        yield from _migrate(generator, side, some)
    elif chance < 0.97:
        yield generator.choice([Request.VERIFY, Request.REWRITE]), 0, 0, some
    elif chance < 0.98:
        yield from _free_while_held(generator, side, sizes, some)
    elif chance < 0.985:
        yield (
            Request.MALLOC,
            0,
            generator.choice([0, side.geometry.page_size + 1, 1 << 30]),
            side.next_identity(),
        )
    else:
        yield from _settle(generator, side)


def _migrate(generator: random.Random, side: _ModelSide, some: int) -> Iterator[Row]:
    """Move a page at once, or twice; or isolate it and leave it so while other things happen."""
    # Asynchronously, lightly synchronously, synchronously.
    mode = generator.choice([0, 1, 2])
    chance = generator.random()
    if chance < 0.45:
        yield Request.MOVE, mode, generator.randrange(1 << 15), 0
        return
    if chance < 0.5:
        yield from _isolate_all_pages(side, some)
        yield from _settle(generator, side)
        return
    for _ in range(generator.choice([1, 1, 3])):
        before = len(side.isolated)
        yield Request.ISOLATE, 0, 0, some
        if len(side.isolated) == before or generator.random() < 0.3:
            break
        yield Request.MIGRATE, mode, 0, 0
    if len(side.isolated) > _ISOLATED_AT_MOST:
        yield from _settle(generator, side)


def _isolate_all_pages(side: _ModelSide, some: int) -> Iterator[Row]:
    """Isolate every page of a zspage in which an object begins."""
    assert side.pool is not None
    by_page = {side.pool.page_of(one): one for one in side.pool.neighbours(some)}
    for one in by_page.values():
        yield Request.ISOLATE, 0, 0, one


def _free_while_held(
    generator: random.Random, side: _ModelSide, sizes: list[int], some: int
) -> Iterator[Row]:
    """Empty a zspage of which a page is locked, and perhaps do something before it is released."""
    assert side.pool is not None
    neighbours = side.pool.neighbours(some)
    yield Request.HOLD, 0, 0, some
    for neighbour in neighbours:
        yield Request.FREE, 0, 0, neighbour
    for _ in range(generator.choice([0, 0, 1, 5])):
        yield Request.MALLOC, 0, generator.choice(sizes), side.next_identity()
    if generator.random() < 0.3:
        yield Request.COMPACT, 0, 0, 0
    yield Request.RELEASE, 0, 0, 0
    if generator.random() < 0.5:
        yield Request.RUN_WORK, 0, 0, 0


def _settle(generator: random.Random, side: _ModelSide) -> Iterator[Row]:
    """Move or put back what is isolated."""
    while side.isolated:
        which = generator.randrange(len(side.isolated))
        if generator.random() < 0.5:
            yield Request.MIGRATE, 1, which, 0
        else:
            yield Request.PUTBACK, 0, which, 0


def _shrink(
    program: Program,
    geometry: Geometry,
    found: Difference,
    deadline: Deadline,
) -> Difference:
    """Leave out what can be left out and still differ, in ever smaller pieces."""

    def differs(candidate: tuple[Row, ...]) -> Difference | None:
        try:
            with open_library(program, deadline=deadline) as library:
                difference = compare(library, geometry, candidate)
        except DeadlineError:
            return None
        return difference if difference is not None and difference.kind == found.kind else None

    smallest = differs(found.requests)
    if smallest is None:
        return found
    piece = len(found.requests) // 2
    while piece >= 1 and not deadline.passed:
        at = 0
        while at < len(smallest.requests) and not deadline.passed:
            candidate = smallest.requests[:at] + smallest.requests[at + piece :]
            shorter = differs(candidate)
            if shorter is None:
                at += piece
            else:
                smallest = shorter
        piece //= 2
    return smallest


def describe(row: Row) -> str:
    """A request in words, for a message."""
    op, a, b, c = row
    return f"{Request(op).name}(a={a}, b={b}, c={c})"


def _is_as_wanted(wanted: int, answer: int) -> bool:
    return answer >= 0 if wanted == _SUCCESS else answer == wanted


def _answer(value: int) -> str:
    return {REFUSED: "refused", _SUCCESS: "success"}.get(value, str(value))
