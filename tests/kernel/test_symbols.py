# SPDX-License-Identifier: GPL-2.0-only
"""Where code lies: by symbol, by offset, and by a line of source that a compiler looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.deadline import Deadline
from toolkit.errors import HostError
from toolkit.kernel.symbols import Compiled, NoSuchPlaceError, Place, Symbols
from toolkit.run import run

SYSTEM_MAP = """\
0000000000000000 A irq_stack_union
ffffffff81000000 T _stext
ffffffff81000100 t find
ffffffff81000200 T find_again
ffffffff81900000 D find_data
"""

SOURCE = """\
static inline __attribute__((always_inline)) int looked(volatile int *at) { return *at; }
__attribute__((section(".init.text"))) int early(volatile int *at) { *at = 7; return *at; }
int find(volatile int *at)
{
	int seen = looked(at);
	if (seen)
		*at = 1; /* store */
	else
		*at = 2;
	return seen; /* store nothing */
}
"""


@pytest.fixture
def symbols(tmp_path: Path) -> Symbols:
    (tmp_path / "System.map").write_text(SYSTEM_MAP, encoding="ascii")
    (tmp_path / "find.c").write_text(SOURCE, encoding="utf-8")

    def compiled(file: str) -> Compiled:
        source, made = tmp_path / file, tmp_path / "find.o"
        run(["gcc", "-c", "-O2", "-gdwarf-4", "-o", made, source], deadline=Deadline.after(60))
        return Compiled(source, made)

    return Symbols(tmp_path / "System.map", compiled)


def test_a_symbol_and_an_offset_from_it(symbols: Symbols) -> None:
    assert symbols.addresses(Place("find")) == (0xFFFFFFFF81000100,)
    assert symbols.addresses(Place("find", 0x10)) == (0xFFFFFFFF81000110,)
    assert symbols.name(0xFFFFFFFF81000110) == "find+0x10"
    assert symbols.name(0xFFFFFFFF81000200) == "find_again"


def test_variables_are_told_from_functions(tmp_path: Path, symbols: Symbols) -> None:
    with (tmp_path / "System.map").open("a", encoding="ascii") as file:
        file.write("ffffffff82000010 b pools_num\n0000000000000020 A find_size\n")
    assert symbols.variable("pools_num") == 0xFFFFFFFF82000010
    assert symbols.variable("find") is symbols.variable("find_size") is None


def test_what_the_kernel_does_not_have_was_not_exercised(symbols: Symbols) -> None:
    with pytest.raises(NoSuchPlaceError, match="no symbol fund"):
        symbols.addresses(Place("fund"))
    with pytest.raises(
        NoSuchPlaceError, match=r"find\(\) in find.c has no line with code and the text 'stare'"
    ):
        symbols.addresses(Place("find", file="find.c", lines=("stare",)))
    with pytest.raises(NoSuchPlaceError, match=r"no function find_again\(\)"):
        symbols.addresses(Place("find_again", file="find.c", lines=("store",)))


def test_a_line_of_source_is_where_its_code_begins(symbols: Symbols) -> None:
    load = symbols.addresses(Place("find", file="find.c", lines=("looked(at);",)))
    store = symbols.addresses(Place("find", file="find.c", lines=("= 1; /* store */",)))
    assert load
    assert store
    assert min(store) > min(load) >= 0xFFFFFFFF81000100


def test_of_several_texts_the_first_that_is_there_counts(symbols: Symbols) -> None:
    store = symbols.addresses(Place("find", file="find.c", lines=("= 2;",)))
    assert symbols.addresses(Place("find", file="find.c", lines=("= 3;", "= 2;"))) == store


def test_code_that_is_longer_than_the_kernels_was_compiled_otherwise(symbols: Symbols) -> None:
    short = symbols.system_map.read_text(encoding="ascii").replace("81000200 T", "81000101 T")
    symbols.system_map.write_text(short, encoding="ascii")
    with pytest.raises(HostError, match="compiled otherwise"):
        symbols.addresses(Place("find", file="find.c", lines=("return seen",)))
