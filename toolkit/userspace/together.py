# SPDX-License-Identifier: GPL-2.0-only
"""Let several CPUs work on one zsmalloc pool at once, in user space, again and again the same way.

The CPUs take turns at points that a seed chooses (shim/turns.c), so that a race needs no luck, and
what was found is found again.  In what order they come is not the model's to know; what must hold
whatever the order is: each answer makes sense, content is intact, the class table counts exactly
the objects that live, and nothing is left at the end.  Locks, references, lists and memory are
checked by the shims and the sanitizers throughout.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from toolkit.deadline import Deadline
from toolkit.errors import CrashError, DeadlineError, HangError
from toolkit.model.geometry import HANDLE_SIZE, Geometry
from toolkit.userspace.build import Program
from toolkit.userspace.library import EBUSY, REFUSED, Library, Request, Row, open_library
from toolkit.userspace.sim import Difference, describe

EAGAIN = 11
_CPUS_AT_MOST = 4
# Orders of turns that are tried before something is believed to be needed for a finding.
_ORDERS = 30
_POOL = 0


@dataclass(frozen=True)
class Block:
    """Requests that are carried out at once: one list for each CPU, and the seed of their turns."""

    seed: int
    shares: tuple[tuple[Row, ...], ...]

    def rows(self) -> Iterator[Row]:
        """As the program takes them: shared out in turn, so shares are filled up with what does nothing."""
        longest = max(map(len, self.shares))
        yield Request.TOGETHER, len(self.shares), longest * len(self.shares), self.seed
        for at in range(longest):
            for share in self.shares:
                yield share[at] if at < len(share) else (Request.HUGE_SIZE, _POOL, 0, 0)


@dataclass(frozen=True)
class Case:
    """One pool from its making to its end: what one CPU does first, and what several do then."""

    prepared: tuple[Row, ...]
    blocks: tuple[Block, ...]

    def rows(self) -> list[Row]:
        rows = [*self.prepared]
        for block in self.blocks:
            rows += block.rows()
        return rows

    def as_pytest(self, geometry: Geometry, what: str, name: str = "found_by_sim") -> str:
        """A test that fails for as long as `what` is there.

        It uses the fixture `library` of tests/userspace/conftest.py.
        """

        def listed(rows: Sequence[Row], indent: str) -> str:
            return "".join(f"{indent}(Request.{Request(op).name}, {a}, {b}, {c}),\n" for op, a, b, c in rows)

        space = "    "
        blocks = ""
        for block in self.blocks:
            shares = "".join(
                f"{space * 5}(\n{listed(share, space * 6)}{space * 5}),\n" for share in block.shares
            )
            blocks += f"{space * 3}Block(\n{space * 4}{block.seed},\n{space * 4}(\n{shares}{space * 4}),\n"
            blocks += f"{space * 3}),\n"
        return (
            f"def test_{name}(library: Library) -> None:\n"
            f"    # {what}\n"
            f"    made = geometry({geometry.rules.value!r}, {geometry.page_size}, {geometry.chain_size})\n"
            f"    case = Case(\n        (\n{listed(self.prepared, space * 3)}        ),\n"
            f"        (\n{blocks}        ),\n    )\n"
            f"    assert check(library, made, case) is None\n"
        )


@dataclass(frozen=True)
class Exploration:
    """What a number of cases came to; `case` is a shortest known one that shows the difference."""

    seed: int
    cases: int
    done: Mapping[str, int]
    difference: Difference | None
    case: Case | None = None

    @property
    def never_done(self) -> tuple[str, ...]:
        """What must have been done at once to prove anything, and was not."""
        wanted = (Request.MALLOC, Request.FREE, Request.REWRITE, Request.COMPACT, Request.MOVE)
        return tuple(kind.name for kind in wanted if not self.done.get(kind.name))


def explore(
    program: Program, geometry: Geometry, *, cases: int, seed: int, deadline: Deadline, shrink_s: float = 30.0
) -> Exploration:
    """So many cases, or as many as the deadline leaves; the first that fails is shrunk.

    DeadlineError if not one was finished.
    """
    done: Counter[str] = Counter()
    finished = 0
    try:
        with open_library(program, deadline=deadline) as library:
            for number in range(cases):
                case = draw(random.Random(f"{seed} {number}"), geometry)
                difference = check(library, geometry, case, done)
                if difference is not None:
                    difference, case = _shrink(
                        program, geometry, difference, case, deadline.at_most(shrink_s)
                    )
                    return Exploration(seed, finished, done, difference, case)
                finished += 1
    except DeadlineError:
        if not finished:
            raise
    return Exploration(seed, finished, done, None)


def draw(generator: random.Random, geometry: Geometry) -> Case:
    """A case by chance: a few zspages of one or two classes, and CPUs that come into each other's way."""
    sizes = [_size(generator, geometry) for _ in range(generator.choice([1, 1, 2]))]
    count = generator.choice([generator.randint(1, 8), generator.randint(4, 40)])
    # The page frames that a case gets do not depend on the cases before it.
    frames: Row = (Request.CONTENT, 1, generator.randrange(1 << 15), 0)
    rows: list[Row] = [frames, (Request.CREATE, _POOL, 0, 0)]
    rows += [(Request.MALLOC, _POOL, generator.choice(sizes), identity) for identity in range(count)]
    free = [identity for identity in range(count) if generator.random() < 0.4]
    rows += [(Request.FREE, 0, 0, identity) for identity in free]
    live = set(range(count)).difference(free)
    blocks = []
    for _ in range(generator.randint(1, 4)):
        cpus = generator.choice([2, 2, 3, _CPUS_AT_MOST])
        shares = []
        for cpu in range(cpus):
            own = range(cpu, count, cpus)
            steps = generator.randint(1, 6)
            shares.append(tuple(_step(generator, sizes, own, live) for _ in range(steps)))
        if cpus < _CPUS_AT_MOST and generator.random() < 0.3:
            # As a kernel's worker: deferred work is begun while the others go on.
            shares.append(((Request.RUN_WORK, 0, 0, 0),) * 6)
        blocks.append(Block(generator.getrandbits(32), tuple(shares)))
    return Case(tuple(rows), tuple(blocks))


def _size(generator: random.Random, geometry: Geometry) -> int:
    """Of classes whose zspages have few objects more often: those are soon empty."""
    if generator.random() < 0.6:
        return generator.randint(geometry.page_size // 6, geometry.page_size - HANDLE_SIZE)
    return generator.randint(1, geometry.page_size)


def _step(generator: random.Random, sizes: Sequence[int], own: range, live: set[int]) -> Row:
    """What one CPU does next, with one of its own objects or with the pool."""
    chance = generator.random()
    if chance < 0.2:
        return Request.MOVE, generator.choice([0, 1, 2, 3]), generator.randrange(1 << 15), 0
    if chance < 0.3:
        return generator.choice([Request.COMPACT, Request.COMPACT, Request.SHRINK_SCAN]), _POOL, 0, 0
    if chance < 0.35 or not own:
        return Request.RUN_WORK, 0, 0, 0
    identity = generator.choice(own)
    if identity not in live:
        live.add(identity)
        return Request.MALLOC, _POOL, generator.choice(sizes), identity
    if chance < 0.75:
        live.remove(identity)
        return Request.FREE, 0, 0, identity
    return generator.choice([Request.VERIFY, Request.REWRITE]), 0, 0, identity


def check(
    library: Library, geometry: Geometry, case: Case, done: Counter[str] | None = None
) -> Difference | None:
    """Carry out a case on a library without any pool; what must hold and does not, if anything."""
    rows = case.rows()
    try:
        return _check(library, geometry, rows, Counter() if done is None else done)
    except CrashError as error:
        return Difference(error.message, "", "", tuple(rows), error.detail)
    except HangError as error:
        return Difference(error.message, "", "", tuple(rows))


def _check(library: Library, geometry: Geometry, rows: list[Row], done: Counter[str]) -> Difference | None:
    live: dict[int, int] = {}
    together = 0
    for row, answer in zip(rows, library.submit(rows).tolist(), strict=True):
        op, _, size, identity = row
        if not _makes_sense(Request(op), answer):
            return Difference(f"{describe(row)} gave {answer}", "success", str(answer), tuple(rows))
        if op == Request.MALLOC:
            live[identity] = size
        elif op == Request.FREE:
            live.pop(identity)
        if together:
            together -= 1
            if op != Request.HUGE_SIZE:
                done[Request(op).name] += answer >= 0
        elif op == Request.TOGETHER:
            together = size
    library.submit([(Request.RUN_WORK, 0, 0, 0)] + [(Request.VERIFY, 0, 0, identity) for identity in live])
    wanted = Counter(geometry.class_of(size).index for size in live.values())
    table = library.classes(_POOL, geometry)
    for size_class in table:
        used, living = size_class.obj_used, wanted[size_class.index]
        if used != living:
            return Difference(
                f"objects used of class {size_class.index}", str(living), str(used), tuple(rows)
            )
    pages = sum(size_class.pages_used for size_class in table)
    rest = [(Request.FREE, 0, 0, identity) for identity in live]
    rest += [(Request.RUN_WORK, 0, 0, 0), (Request.TOTAL_PAGES, _POOL, 0, 0), (Request.DESTROY, _POOL, 0, 0)]
    seen = [
        ("pages of the pool", pages, library.ask(Request.TOTAL_PAGES, _POOL)),
        ("pages of the emptied pool", 0, int(library.submit(rest)[-2])),
        ("PAGES_TAKEN", 0, library.ask(Request.PAGES_TAKEN)),
        ("ZONE_PAGES", 0, library.ask(Request.ZONE_PAGES)),
        ("SLAB_OBJECTS", library.slab_objects_at_start, library.ask(Request.SLAB_OBJECTS)),
    ]
    for what, expected, answer in seen:
        if answer != expected:
            return Difference(what, str(expected), str(answer), tuple(rows))
    return None


def _makes_sense(op: Request, answer: int) -> bool:
    if op is Request.MOVE:
        # Nothing to be moved, or somebody else has it: no harm.
        return answer in (0, 1, -EAGAIN, -EBUSY, REFUSED)
    if op is Request.SHRINK_SCAN:
        return answer != REFUSED
    if op in (Request.COMPACT, Request.HUGE_SIZE):
        return answer >= 0
    return answer == 0


def _shrink(
    program: Program, geometry: Geometry, found: Difference, case: Case, deadline: Deadline
) -> tuple[Difference, Case]:
    """Leave out what can be left out, if in one of some orders of turns it still fails."""
    smallest = found, case

    def fails(candidate: Case) -> bool:
        nonlocal smallest
        for turn in range(_ORDERS):
            blocks = [replace(block, seed=block.seed + turn) for block in candidate.blocks]
            tried = replace(candidate, blocks=tuple(blocks))
            try:
                with open_library(program, deadline=deadline) as library:
                    difference = check(library, geometry, tried)
            except DeadlineError:
                return False
            if difference is not None and difference.kind == found.kind:
                smallest = difference, tried
                return True
        return False

    shorter = True
    while shorter and not deadline.passed:
        shorter = any(fails(candidate) for candidate in _shorter(smallest[1]))
    return smallest


def _shorter(case: Case) -> Iterator[Case]:
    """A case without one of its blocks, without one CPU of a block, or without one object or step."""
    for at in range(len(case.blocks)):
        if len(case.blocks) > 1:
            yield replace(case, blocks=case.blocks[:at] + case.blocks[at + 1 :])
    for at, block in enumerate(case.blocks):
        for cpu, share in enumerate(block.shares):
            if len(block.shares) > 2:
                shares = block.shares[:cpu] + block.shares[cpu + 1 :]
                yield _with_block(case, at, replace(block, shares=shares))
            for step in range(len(share)):
                without = share[:step] + share[step + 1 :]
                shares = (*block.shares[:cpu], without, *block.shares[cpu + 1 :])
                if any(shares):
                    yield _with_block(case, at, replace(block, shares=shares))
    identities = sorted({row[3] for row in case.prepared if row[0] == Request.MALLOC}, reverse=True)
    for identity in identities:
        yield _without_object(case, identity)


def _with_block(case: Case, at: int, block: Block) -> Case:
    return replace(case, blocks=(*case.blocks[:at], block, *case.blocks[at + 1 :]))


_OF_OBJECTS = (Request.MALLOC, Request.FREE, Request.VERIFY, Request.REWRITE)


def _without_object(case: Case, identity: int) -> Case:
    def others(rows: Sequence[Row]) -> tuple[Row, ...]:
        return tuple(row for row in rows if row[0] not in _OF_OBJECTS or row[3] != identity)

    blocks = [replace(block, shares=tuple(others(share) for share in block.shares)) for block in case.blocks]
    return Case(others(case.prepared), tuple(block for block in blocks if any(block.shares)))
