# SPDX-License-Identifier: GPL-2.0-only
"""zram's accounting follows from the content of its disk."""

from __future__ import annotations

import pytest

from toolkit.model.geometry import geometry
from toolkit.model.zram import Disk, DiskContent, is_same_filled, stored_size

V6_1 = geometry("6.1", 4096)
V6_1_16K = geometry("6.1", 16384)
MIB = 1 << 20


def test_a_page_of_one_word_is_same_filled_and_any_other_is_not() -> None:
    assert is_same_filled(bytes(4096))
    assert is_same_filled(b"abcdefgh" * 512)
    assert not is_same_filled(b"abcd" * 1023 + b"abce")
    assert not is_same_filled(b"abcdefghijklmnop" * 256)


def test_what_hardly_shrinks_is_stored_as_a_whole_page() -> None:
    assert stored_size(3256, V6_1) == 3256
    assert stored_size(3257, V6_1) == 4096


def test_slots_are_counted_by_what_they_hold() -> None:
    disk = Disk(V6_1, MIB)
    disk.write(0, bytes(4096))
    disk.write(4096, b"12345678" * 512)
    disk.write(8192, bytes(range(256)) * 16)
    disk.write(12288, bytes(range(256)) * 32)
    disk.compressed(3, 4000)
    disk.compressed(4, 100)
    content = disk.content()
    assert content == DiskContent(pages_stored=5, same_pages=2, huge_pages=(1, 2))
    assert content.objects == 3


def test_a_partial_write_changes_the_whole_slot() -> None:
    disk = Disk(V6_1_16K, MIB)
    disk.write(4096, b"x" * 4096)
    assert disk.content() == DiskContent(1, 0, (0, 1))
    for offset in (0, 8192, 12288):
        disk.write(offset, b"x" * 4096)
    assert disk.content() == DiskContent(1, 1, (0, 0))
    assert disk.read(0, 16385) == b"x" * 16384 + b"\0"


def test_a_write_makes_a_known_compressed_size_unknown() -> None:
    disk = Disk(V6_1, MIB)
    disk.write(0, bytes(range(256)) * 16)
    disk.compressed(0, 300)
    assert disk.content().huge_pages == (0, 0)
    disk.write(100, b"y")
    assert disk.content().huge_pages == (0, 1)


def test_a_discard_frees_only_slots_that_it_covers() -> None:
    disk = Disk(V6_1, MIB)
    disk.write(0, b"abcdefgh1" * 2000)
    assert disk.content().pages_stored == 5
    disk.discard(100, 3 * 4096)
    assert disk.content().pages_stored == 3
    assert disk.read(0, 9) == b"abcdefgh1"
    assert disk.read(4096, 8192) == bytes(8192)


def test_a_write_outside_the_disk_is_the_workloads_mistake() -> None:
    with pytest.raises(ValueError, match="outside a disk of 1048576"):
        Disk(V6_1, MIB).write(MIB - 1, b"ab")
