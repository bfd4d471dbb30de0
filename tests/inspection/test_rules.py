# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.inspection import heaps
from toolkit.inspection import rules
from toolkit.inspection.heap import Finding, Frame, Heap, Layout, SizeClass, Zspage
from toolkit.inspection.inspection import checks, inspect
from toolkit.inspection.rules import RULES
from toolkit.verdict import Status

Damage = Callable[[Heap], Heap]


def in_class(change: Callable[[SizeClass], SizeClass]) -> Damage:
    def damage(heap: Heap) -> Heap:
        pool = heap.pools[0]
        return replace(heap, pools=(replace(pool, classes=(change(pool.classes[0]),)),))

    return damage


def in_zspage(number: int, change: Callable[[Zspage], Zspage]) -> Damage:
    def damage(one: SizeClass) -> SizeClass:
        zspages = list(one.zspages)
        zspages[number] = change(zspages[number])
        return replace(one, zspages=tuple(zspages))

    return in_class(damage)


def in_page(position: int, **words: Any) -> Damage:
    def damage(zspage: Zspage) -> Zspage:
        pages = list(zspage.pages)
        pages[position] = replace(pages[position], **words)
        return replace(zspage, pages=tuple(pages))

    return in_zspage(1, damage)


def with_header(index: int, word: Callable[[Zspage], int]) -> Callable[[Zspage], Zspage]:
    def damage(zspage: Zspage) -> Zspage:
        headers = list(zspage.headers)
        headers[index] = word(zspage)
        return replace(zspage, headers=tuple(headers))

    return damage


def lose_a_zspage(one: SizeClass) -> SizeClass:
    return replace(one, zspages=one.zspages[:2], counted=(0, 0, 1, 1))


def mislead(zspage: Zspage) -> Zspage:
    handles = list(zspage.targets)
    wrong = {handles[0]: zspage.targets[handles[1]], handles[1]: zspage.targets[handles[0]]}
    return replace(zspage, targets={**zspage.targets, **wrong})


# A free list of the third zspage, 3 -> 2 -> 1 -> 0, that goes back to 3.
cycle = with_header(0, lambda zspage: 3 << 1)
# One that leads to an allocated object, and one that ends before its time.
astray = with_header(2, lambda zspage: 4 << 1)
short = with_header(2, lambda zspage: heaps.END)

ANY_LAYOUT: dict[str, tuple[str, Damage]] = {
    "a cycle in a free list": ("freelist", in_zspage(2, cycle)),
    "an allocated object in a free list": ("freelist", in_zspage(2, astray)),
    "a free list that ends early": ("freelist", in_zspage(2, short)),
    "an object marked as free": ("object", in_zspage(0, with_header(1, lambda zspage: heaps.END))),
    "an object counted out": ("object", in_zspage(1, lambda zspage: replace(zspage, inuse=3))),
    "two objects with one handle": (
        "handle",
        in_zspage(0, with_header(1, lambda zspage: zspage.headers[0])),
    ),
    "handles that lead to each other's objects": ("handle", in_zspage(0, mislead)),
    "a handle out of memory": (
        "handle",
        in_zspage(0, lambda zspage: replace(zspage, targets=dict.fromkeys(zspage.targets))),
    ),
    "a freed handle in use": (
        "handle",
        lambda heap: replace(heap, live_handles=frozenset(list(heap.live_handles or ())[1:])),
    ),
    "a zspage in the wrong list": ("fullness", in_zspage(1, lambda zspage: replace(zspage, found_in=1))),
    "a zspage that misremembers its list": (
        "fullness",
        in_zspage(1, lambda zspage: replace(zspage, fullness=1)),
    ),
    "a zspage of another class": ("fullness", in_zspage(1, lambda zspage: replace(zspage, class_index=1))),
    "a zspage of another pool": ("page", in_zspage(1, lambda zspage: replace(zspage, pool=1))),
    "objects counted twice": ("count", in_class(lambda one: replace(one, obj_used=11))),
    "a zspage not counted": ("count", in_class(lambda one: replace(one, obj_allocated=10))),
    "a list counted wrong": ("count", in_class(lambda one: replace(one, counted=(0, 2, 1, 1)))),
    "an isolation never undone": ("count", in_zspage(1, lambda zspage: replace(zspage, isolated=1))),
    "a page held twice": ("page", in_page(2, refcount=2)),
    "a page still locked": ("page", in_page(0, flags=frozenset({"PG_private", "PG_locked"}))),
    "a page with a foreign owner": ("page", in_page(1, mapping=0xFFFF_8880_0900_0002)),
    "a flag in use": ("declared", in_page(3, flags=frozenset({"PG_checked"}))),
    "a lost zspage": ("lost", in_class(lose_a_zspage)),
    "a lost handle": (
        "lost",
        lambda heap: replace(heap, live_handles=(heap.live_handles or frozenset()) | {0x1238}),
    ),
    "a lost page": (
        "lost",
        lambda heap: replace(heap, marked=(*heap.marked, Frame(0x77, heaps.page_address(0x77), 2))),
    ),
    "pages counted wrong by the zones": ("lost", lambda heap: replace(heap, nr_zspages=13)),
    "a list that could not be followed": (
        "list",
        lambda heap: replace(heap, broken=(Finding("list", "class 202", "it comes back"),)),
    ),
}
CHAIN: dict[str, tuple[str, Damage]] = {
    "a page that points to another zspage": ("page", in_page(1, private=0xFFFF_8880_0900_0000)),
    "a chain that ends early": ("page", in_page(1, index=0)),
    "two first pages": ("page", in_page(1, flags=frozenset({"PG_private"}))),
    "a wrong first object": ("page", in_page(1, page_type=8)),
}
OWNER: dict[str, tuple[str, Damage]] = {
    "private in use": ("declared", in_page(1, private=0xFFFF_8880_0900_0000)),
    "an order that is not 0": ("declared", in_page(1, index=1)),
    "a tail": ("declared", in_page(1, next_word=0xFFFF_8880_0900_0001)),
    "the mapcount in use": ("declared", in_page(1, page_type=0)),
    "memcg_data in use": ("declared", in_page(1, memcg_data=1)),
    "PG_private in use": ("declared", in_page(0, flags=frozenset({"PG_private"}))),
}
HEAD: dict[str, tuple[str, Damage]] = {
    "a page with another head": ("page", in_page(1, next_word=0xFFFF_8880_0900_0001)),
    "a page that is no tail": ("page", in_page(1, next_word=0)),
    "a mapping in use": ("declared", in_page(1, mapping=heaps.OPERATIONS | 2)),
    "a head without operations": ("page", in_zspage(1, lambda zspage: replace(zspage, head_mapping=2))),
    "a head held twice": ("page", in_zspage(1, lambda zspage: replace(zspage, head_refcount=2))),
    "an isolated head that nobody holds": ("page", in_zspage(1, lambda zspage: replace(zspage, isolated=1))),
}
# With a head, isolation and the owner are the head's.
NOT_OF_A_HEAD = ("an isolation never undone", "a page with a foreign owner")
CASES = [
    pytest.param(layout, *damaged, id=f"{layout.value}: {name}")
    for layout, own in ((Layout.CHAIN, CHAIN), (Layout.OWNER, OWNER), (Layout.HEAD, HEAD))
    for name, damaged in {**ANY_LAYOUT, **own}.items()
    if layout is not Layout.HEAD or name not in NOT_OF_A_HEAD
]


@pytest.mark.parametrize("layout", list(Layout))
def test_a_sound_heap_breaks_no_rule_and_is_looked_at_by_each(layout: Layout) -> None:
    verdicts = rules.check(heaps.heap(layout))
    assert verdicts.findings == []
    assert all(verdicts.looked[rule] for rule in RULES)


@pytest.mark.parametrize(("layout", "rule", "damage"), CASES)
def test_damage_is_found_by_its_rule(layout: Layout, rule: str, damage: Damage) -> None:
    found = rules.check(damage(heaps.heap(layout))).findings
    assert rule in {finding.rule for finding in found}


def test_every_rule_has_damage_that_only_it_is_asked_to_find() -> None:
    assert {
        rule for rule, _ in (*ANY_LAYOUT.values(), *CHAIN.values(), *OWNER.values(), *HEAD.values())
    } == set(RULES)


def test_an_isolated_page_may_be_held_twice() -> None:
    pages = in_page(2, refcount=2, flags=frozenset({"PG_isolated"}))(heaps.heap(Layout.OWNER))
    heap = in_zspage(1, lambda zspage: replace(zspage, isolated=1))(pages)
    assert rules.check(heap).findings == []


def test_the_class_in_a_handles_value_is_looked_at_where_it_is_there() -> None:
    sound = heaps.heap(Layout.CHAIN)
    with_class = replace(sound, class_shift=15)
    assert {finding.rule for finding in rules.check(with_class).findings} == {"handle"}

    def tell(zspage: Zspage) -> Zspage:
        told = {handle: (value or 0) | 202 << 16 for handle, value in zspage.targets.items()}
        return replace(zspage, targets=told)

    for number in range(3):
        with_class = in_zspage(number, tell)(with_class)
    assert rules.check(with_class).findings == []


def test_an_inspection_counts_what_is_in_memory_and_not_what_is_counted_there() -> None:
    wrong = in_class(lambda one: replace(one, obj_used=99))(heaps.heap(Layout.CHAIN))
    look = inspect(wrong, "core")
    assert [(pool.objects, pool.pages) for pool in look.pools] == [(10, 12)]
    assert look.pools[0].rows[0].obj_used == 10
    assert look.status is Status.FAIL


def test_an_inspection_of_an_empty_heap_proves_nothing() -> None:
    empty = replace(heaps.heap(Layout.CHAIN), pools=(), marked=(), nr_zspages=0,
                    live_zspages=frozenset(), live_handles=frozenset())  # fmt: skip
    look = inspect(empty, "core")
    assert look.status is Status.ERROR
    assert {check.name: check.status for check in checks("inspect", {"end": look})}[
        "inspect/handle"
    ] is Status.ERROR


def test_a_check_says_where_it_was_seen() -> None:
    look = inspect(in_page(1, refcount=2)(heaps.heap(Layout.CHAIN)), "guest")
    failed = [check for check in checks("inspect", {"filled": look}) if check.status is Status.FAIL]
    assert [check.name for check in failed] == ["inspect/page"]
    assert "filled: zram0, class 202, zspage 0xffff888002000100, page 1" in failed[0].summary
