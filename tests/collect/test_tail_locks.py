# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel printed of tail locks is taken together by function, and nothing is guessed."""

from __future__ import annotations

import pytest

from toolkit.collect import tail_locks
from toolkit.collect.tail_locks import TailLock

PRINTED = """\
lost 2
3 lock_page compound try_to_split_thp_page+0x1c/0x90
4 lock_page compound try_to_split_thp_page.constprop.0+0x30/0x90
7 trylock_page other isolate_movable_page+0x54/0x120
1 unlock_page other zram_slot_free+0x54/0x120 [zram]
"""


def test_places_in_one_function_count_together_whatever_clone_of_it_they_are_in() -> None:
    found = tail_locks.parse(PRINTED)
    assert found.lost == 2
    assert found.counts == {
        TailLock("isolate_movable_page", "trylock_page", "other"): 7,
        TailLock("try_to_split_thp_page", "lock_page", "compound"): 7,
        TailLock("zram_slot_free", "unlock_page", "other"): 1,
    }
    assert found.of("try_to_split_thp_page") == {"lock_page": 7}
    assert found.of("nobody") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begins with ''"),
        ("3 lock_page compound a+0x1/0x2\n", "not with what was lost"),
        ("lost 0\n3 lock_page huge a+0x1/0x2\n", "not a count of a caller: '3 lock_page huge"),
        ("lost 0\n3 lock_page other 0xffffffff81000000\n", "not a count of a caller"),
    ],
)
def test_another_form_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tail_locks.parse(text)
