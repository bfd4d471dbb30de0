# SPDX-License-Identifier: GPL-2.0-only
"""The size classes are the kernel's."""

from __future__ import annotations

import pytest

from toolkit.errors import InputError
from toolkit.model.geometry import HANDLE_SIZE, Rules, SizeClass, geometry


@pytest.mark.parametrize(
    ("release", "page_size", "chain_size", "distinct", "indices", "huge_class_size"),
    [
        ("6.1", 4096, None, 69, 255, 3257),
        ("6.1", 16384, None, 70, 257, 13081),
        ("6.1", 65536, None, 72, 257, 52249),
        ("6.12", 4096, None, 119, 255, 3625),
        ("6.12", 16384, None, 121, 257, 14553),
        ("6.12", 65536, None, 123, 257, 58137),
        ("6.12", 4096, 4, 69, 255, 3257),
        ("7.2", 4096, 16, 192, 255, 3833),
    ],
)
def test_classes_are_as_many_as_real_kernels_print(
    release: str, page_size: int, chain_size: int | None, distinct: int, indices: int, huge_class_size: int
) -> None:
    made = geometry(release, page_size, chain_size)
    assert len(made.classes) == distinct
    assert len(made.positions) == indices
    assert made.huge_class_size == huge_class_size


def test_a_class_is_named_after_the_largest_that_was_merged_into_it() -> None:
    made = geometry("6.1", 4096)
    assert made.classes[0] == SizeClass(index=0, size=32, objects=128, pages=1)
    # 656 and 672 bytes both fit 6 times into a page: class 39 is not printed.
    assert SizeClass(index=40, size=672, objects=6, pages=1) in made.classes
    assert 39 not in [c.index for c in made.classes]
    assert made.classes[-1] == SizeClass(index=254, size=4096, objects=1, pages=1)
    assert [c.huge for c in made.classes] == [False] * 68 + [True]


@pytest.mark.parametrize("release", ["6.1", "6.12"])
@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
def test_every_size_fits_its_class_and_no_smaller_one(release: str, page_size: int) -> None:
    made = geometry(release, page_size)
    huge_class_size = made.huge_class_size
    for size in range(1, page_size + 1):
        position = made.position(size)
        chosen = made.classes[position]
        assert chosen.size >= (size if chosen.huge else size + HANDLE_SIZE)
        if position:
            assert made.classes[position - 1].size < size + HANDLE_SIZE
        assert chosen.huge == (size >= huge_class_size)
        assert chosen.objects * chosen.size <= chosen.pages * page_size


@pytest.mark.parametrize("size", [0, 4097])
def test_a_size_that_zs_malloc_refuses_has_no_class(size: int) -> None:
    with pytest.raises(ValueError, match=f"takes 1 to 4096 bytes, not {size}"):
        geometry("6.1", 4096).class_of(size)


@pytest.mark.parametrize(
    ("release", "rules"),
    [
        ("6.1", Rules.SEARCH_BY_QUARTER),
        ("6.1.192", Rules.SEARCH_BY_QUARTER),
        ("6.12.117+deb12-amd64", Rules.SEARCH_BY_TENTH),
        ("v7.2.13", Rules.SEARCH_BY_TENTH),
    ],
)
def test_a_release_is_recognized_however_it_is_written(release: str, rules: Rules) -> None:
    assert geometry(release, 4096).rules is rules


@pytest.mark.parametrize("release", ["6.2", "5.10", "6.6.1"])
def test_a_release_whose_rules_were_never_read_is_refused(release: str) -> None:
    with pytest.raises(InputError, match="does not know zsmalloc's rules"):
        geometry(release, 4096)


def test_what_no_kernel_can_be_configured_to_is_refused() -> None:
    with pytest.raises(InputError, match="no page size of 8192"):
        geometry("6.1", 8192)
    with pytest.raises(InputError, match="no chain size to choose"):
        geometry("6.1", 4096, 8)
    with pytest.raises(InputError, match="no chain size of 3"):
        geometry("6.12", 4096, 3)
    with pytest.raises(InputError, match="no kernel release"):
        geometry("mainline", 4096)
