# SPDX-License-Identifier: GPL-2.0-only
"""Instructions per operation: what the plugin's words come to."""

from __future__ import annotations

from pathlib import Path

from toolkit.deadline import Deadline
from toolkit.rig import counting
from toolkit.store import Store

NAMES = ("alloc", "map", "zram")


def test_a_request_that_allocated_is_a_write_and_one_that_only_mapped_a_read() -> None:
    calls = "0 250\n1 80\n2 9000\n1 70\n2 800\n2 40\n"
    costs = counting.summarise(calls, NAMES)
    assert costs["write"].median == 9000
    assert costs["read"].median == 800
    assert costs["map"].calls == 2
    assert set(costs) == {"alloc", "map", "write", "read"}


def test_the_spread_is_that_of_all_calls() -> None:
    cost = counting.summarise("".join(f"0 {number}\n" for number in range(101)), NAMES)["alloc"]
    assert (cost.calls, cost.low, cost.median, cost.high) == (101, 5, 50, 95)


def test_a_function_is_found_under_the_name_that_the_compiler_gave_it_but_not_its_cold_part() -> None:
    system_map = (
        "ffffffff81000010 t zram_bvec_rw.constprop.0\n"
        "ffffffff81000020 t zram_bvec_rw.constprop.0.cold\n"
        "ffffffff81000030 T zs_malloc\n"
        "ffffffff81000040 T zs_malloc_other\n"
    )
    assert counting.addresses(system_map) == {"zram": 0xFFFFFFFF81000010, "alloc": 0xFFFFFFFF81000030}


def test_the_plugin_compiles(tmp_path: Path) -> None:
    made = counting.plugin(Store(tmp_path), deadline=Deadline.after(120))
    assert made.read_bytes().startswith(b"\x7fELF")
