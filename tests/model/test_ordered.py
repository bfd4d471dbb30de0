# SPDX-License-Identifier: GPL-2.0-only
"""Steps seen under the lock are followed one by one, and the first that differs is told."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from toolkit.model.geometry import Geometry, Rules, geometry
from toolkit.model.operations import Step, Steps
from toolkit.model.ordered import follow
from toolkit.model.pool import Pool

V6_1, V6_12 = geometry("6.1", 4096), geometry("6.12", 4096)
SIZE = 800  # 5 objects in 1 page
POOL = 0xF00


class Guest:
    """A pool, and the steps that a trace of it would show."""

    def __init__(self, made: Geometry) -> None:
        self.pool = Pool(made)
        self.rows: list[tuple[int, int, int, int, int, int]] = []
        self.marks: list[str] = []
        # Kept, so that no identity is used for a second one.
        self._seen: list[object] = []
        self.step(Step.CREATE)

    def step(
        self, op: Step, size: int = 0, handle: int = 0, zspage: int = 0, *, thread: int = 1, ago: int = 0
    ) -> None:
        self.rows.append((op, size, handle, zspage, len(self.rows) - ago, thread))

    def zspage(self, handle: int) -> int:
        self._seen.append(self.pool.page_of(handle)[0])
        return id(self._seen[-1])

    def malloc(self, size: int, handle: int, *, fresh: bool = False, thread: int = 1, ago: int = 0) -> None:
        self.pool.alloc(size, handle, fresh=fresh)
        self.step(Step.MALLOC, size, handle, self.zspage(handle), thread=thread, ago=ago)

    def free(self, handle: int, *, thread: int = 1) -> None:
        self.pool.free(handle)
        self.step(Step.FREE, handle=handle, thread=thread)

    def compact(self, position: int, *, most: int | None = None, thread: int = 2) -> int:
        """One source of a class: how many objects were moved."""
        if self.pool.geometry.rules is Rules.SEARCH_BY_QUARTER:
            self.step(Step.SOURCE, zspage=position, thread=thread)
        moves = self.pool.compact_step(position, most)
        for handle, zspage in moves:
            self._seen.append(zspage)
            self.step(Step.MOVE, handle=handle, zspage=id(zspage), thread=thread)
        return len(moves)

    def mark(self, name: str) -> None:
        self.step(Step.MARK, len(self.marks))
        self.marks.append(name)

    def steps(self) -> Steps:
        op, size, handle, zspage, since, thread = zip(*self.rows, strict=True)
        return Steps(
            op=np.array(op, np.uint8),
            pool=np.where(np.array(op) == Step.MARK, 0, POOL).astype(np.uint64),
            size=np.array(size, np.uint32),
            handle=np.array(handle, np.uint64),
            zspage=np.array(zspage, np.uint64),
            since=np.array(since, np.int64),
            thread=np.array(thread, np.uint32),
            marks=tuple(self.marks),
            sources=self.pool.geometry.rules is Rules.SEARCH_BY_QUARTER,
            deferred=0,
        )


def churned(made: Geometry, seed: int) -> Guest:
    """Two threads allocate and free while a third compacts, one source at a time."""
    chance = random.Random(seed)
    guest = Guest(made)
    live: list[int] = []
    sizes = [chance.randint(1, made.page_size) for _ in range(4)]
    # A first compaction visits every class.
    for position in reversed(range(len(made.classes))):
        guest.compact(position)
    for handle in range(1, 3000):
        if live and chance.random() < (0.4 if handle // 300 % 2 else 0.6):
            guest.free(live.pop(chance.randrange(len(live))), thread=chance.choice([1, 3]))
        elif chance.random() < 0.1:
            guest.compact(made.position(chance.choice(sizes)), most=chance.choice([None, None, 1, 2]))
        else:
            guest.malloc(chance.choice(sizes), handle, thread=chance.choice([1, 3]))
            live.append(handle)
        if handle % 500 == 0:
            guest.mark(f"at {handle}")
    return guest


@pytest.mark.parametrize("made", [V6_1, V6_12])
@pytest.mark.parametrize("seed", range(5))
def test_steps_of_several_threads_are_followed_to_the_end(made: Geometry, seed: int) -> None:
    guest = churned(made, seed)
    guest.mark("end")
    followed = follow(guest.steps(), made)
    assert (followed.difference, followed.unclear) == ("", "")
    assert followed.steps == len(guest.rows)
    assert [shot.checkpoint for shot in followed.snapshots] == guest.marks
    last = followed.snapshots[-1].pools[0]
    assert last.table == guest.pool.table()
    assert last.pages_compacted == guest.pool.pages_compacted > 0


@pytest.mark.parametrize(("made", "late"), [(V6_1, 0), (V6_12, 1)])
def test_pages_that_one_thread_may_still_have_to_subtract_are_there_for_another(
    made: Geometry, late: int
) -> None:
    """6.1 has one lock for a pool; since 6.11 each class has its own."""
    guest = Guest(made)
    page, other = made.page_size, SIZE
    for handle in (1, 2):
        guest.malloc(page, handle)
    guest.mark("two")
    guest.free(1)
    guest.malloc(other, 3, thread=2)
    guest.mark("late")
    guest.malloc(page, 4)
    guest.malloc(page, 5)
    guest.mark("more")
    peaks = [shot.pools[0].pages_peak for shot in follow(guest.steps(), made).snapshots]
    assert peaks == [2, 2 + late, 4]


@pytest.mark.parametrize("made", [V6_1, V6_12])
def test_the_first_step_into_another_zspage_is_told(made: Geometry) -> None:
    guest = Guest(made)
    for handle in range(7):
        guest.malloc(SIZE, handle)
    guest.mark("filled")
    guest.free(0)
    # There is one free place in the first zspage, and three in the second: the fuller one it is.
    guest.malloc(SIZE, 7, thread=9)
    guest.malloc(SIZE, 8)
    steps = guest.steps()
    zspage = steps.zspage.copy()
    row = len(steps) - 2
    zspage[row] = guest.zspage(5)
    followed = follow(replace(steps, zspage=zspage), made)
    assert (followed.steps, len(followed.snapshots)) == (row, 1)
    assert followed.difference == (
        f"step {row} (MALLOC by thread 9, after filled): 800 bytes went into zspage {guest.zspage(5):#x},"
        f" the model takes {guest.zspage(1):#x}"
    )


def test_an_object_that_compaction_moved_elsewhere_is_told() -> None:
    guest = churned(V6_12, 2)
    steps = guest.steps()
    row = int(np.flatnonzero(steps.op == Step.MOVE)[-1])
    zspage = steps.zspage.copy()
    zspage[row] += 1
    followed = follow(replace(steps, zspage=zspage), V6_12)
    assert followed.steps == row
    assert "compaction moved" in followed.difference


def test_who_saw_all_zspages_full_may_make_a_new_one_though_there_is_room_by_now() -> None:
    guest = Guest(V6_12)
    guest.malloc(SIZE, 1, thread=1)
    # Thread 2 began before that, and saw none.
    guest.malloc(SIZE, 2, fresh=True, thread=2, ago=1)
    guest.mark("end")
    followed = follow(guest.steps(), V6_12)
    assert followed.followed
    assert followed.snapshots[0].pools[0].pages == 2


def test_a_new_zspage_while_there_was_room_all_the_time_is_told() -> None:
    guest = Guest(V6_12)
    guest.malloc(SIZE, 1)
    guest.malloc(SIZE, 2, fresh=True)
    followed = follow(guest.steps(), V6_12)
    assert "had room all the time" in followed.difference


def test_a_handle_freed_twice_is_told_with_its_step_and_the_checkpoint_before() -> None:
    guest = Guest(V6_12)
    guest.malloc(SIZE, 1)
    guest.free(1)
    guest.mark("emptied")
    guest.step(Step.FREE, handle=1)
    assert follow(guest.steps(), V6_12).difference == (
        "step 4 (FREE by thread 1, after emptied): handle 0x1 is not in use"
    )


def test_compaction_by_the_rules_of_6_1_that_goes_on_where_it_should_is_told() -> None:
    guest = Guest(V6_1)
    for handle in range(10):
        guest.malloc(SIZE, handle)
    for handle in (0, 1, 2, 3, 5, 6, 7):
        guest.free(handle)
    for position in reversed(range(len(V6_1.classes))):
        guest.compact(position)
    steps = guest.steps()
    kept = steps.op != Step.MOVE
    without = {
        name: getattr(steps, name)[kept]
        for name in ("op", "pool", "size", "handle", "zspage", "since", "thread")
    }
    assert not kept.all()
    followed = follow(replace(steps, **without), V6_1)
    assert "compaction stopped after 0, the model moves" in followed.difference


def test_what_the_trace_cannot_show_is_said_and_not_guessed() -> None:
    steps = churned(V6_1, 1).steps()
    assert "freed later, 2 times" in follow(replace(steps, deferred=2), V6_1).unclear
    assert "nobody knows" in follow(replace(steps, deferred=None), V6_1).unclear
    assert "reorders lists" in follow(replace(steps, sources=False), V6_1).unclear
