# SPDX-License-Identifier: GPL-2.0-only
"""The size of code is counted by function, whatever the compiler made of its name."""

from __future__ import annotations

from toolkit.kernel import bloat

BEFORE = """\
ffffffff81000000 0000000000000040 T zs_malloc
ffffffff81000040 0000000000000010 t obj_free
ffffffff81000050 0000000000000008 t obj_free.constprop.0
ffffffff81000060 0000000000000020 t trylock_zspage
ffffffff81000080 0000000000000004 D zs_data
ffffffff81000090 T _stext
"""
AFTER = """\
ffffffff81000000 0000000000000030 T zs_malloc
ffffffff81000040 0000000000000018 t obj_free
ffffffff81000050 0000000000000100 t zs_owner_lock.isra.0.cold
ffffffff81000080 0000000000000400 D zs_data
"""


def test_functions_of_one_name_are_added_up_and_data_is_left_out() -> None:
    assert bloat.parse(BEFORE) == {"zs_malloc": 64, "obj_free": 24, "trylock_zspage": 32}


def test_growth_counts_what_came_went_grew_and_shrank() -> None:
    found = bloat.growth(bloat.parse(BEFORE), bloat.parse(AFTER))
    assert str(found) == f"{256 - 32 - 16:+d} (add/remove 1/1, grow/shrink 0/1)"
    assert [str(change) for change in found.changes] == [
        "zs_owner_lock 0 -> 256 (+256)",
        "trylock_zspage 32 -> 0 (-32)",
        "zs_malloc 64 -> 48 (-16)",
    ]
