# SPDX-License-Identifier: GPL-2.0-only
"""What zram must account for, from the content that was written to its disk.

Follows drivers/block/zram/zram_drv.c of 6.1.192 (zram_bvec_rw, zram_free_page,
zram_bio_discard): a slot is a page; a write of part of it reads, changes and stores it
whole; a slot of one repeated word takes no memory; a discard frees whole slots only.
"""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.model.geometry import Geometry

# page_same_filled() compares unsigned longs.
_WORD = 8


@dataclass(frozen=True)
class DiskContent:
    """Counts of slots that mm_stat and the class table must show.

    pages_stored: slots written and not discarded (orig_data_size / page size);
    same_pages: those of one repeated word; objects: those held by zsmalloc, so long as
    none was written back; huge_pages: those stored as they are, as (low, high).
    """

    pages_stored: int
    same_pages: int
    huge_pages: tuple[int, int]

    @property
    def objects(self) -> int:
        return self.pages_stored - self.same_pages


def is_same_filled(page: bytes) -> bool:
    """Whether a page consists of one word, repeated."""
    return page == page[:_WORD] * (len(page) // _WORD)


def stored_size(compressed_size: int, geometry: Geometry) -> int:
    """The bytes zram asks zsmalloc for, once a page was compressed to `compressed_size`."""
    return geometry.page_size if compressed_size >= geometry.huge_class_size else compressed_size


class Disk:
    """The content of a zram disk, and what must be accounted for it.

    size: bytes, a multiple of the page size.
    """

    def __init__(self, geometry: Geometry, size: int) -> None:
        self._geometry = geometry
        self._page_size = geometry.page_size
        self._slots: dict[int, bytearray] = {}
        self._compressed: dict[int, int] = {}
        self.size = size

    def write(self, offset: int, data: bytes) -> None:
        """Write `data` at byte `offset`; ValueError outside the disk."""
        if not 0 <= offset <= offset + len(data) <= self.size:
            raise ValueError(f"{len(data)} bytes at {offset} are outside a disk of {self.size}")
        while data:
            index, start = divmod(offset, self._page_size)
            part = data[: self._page_size - start]
            slot = self._slots.setdefault(index, bytearray(self._page_size))
            slot[start : start + len(part)] = part
            self._compressed.pop(index, None)
            offset += len(part)
            data = data[len(part) :]

    def discard(self, offset: int, length: int) -> None:
        """Discard `length` bytes at `offset`: slots that are covered in part are kept."""
        first = -(-offset // self._page_size)
        for index in range(first, (offset + length) // self._page_size):
            self._slots.pop(index, None)
            self._compressed.pop(index, None)

    def compressed(self, index: int, size: int) -> None:
        """Tell that slot `index` was compressed to `size` bytes (where the workload knows)."""
        self._compressed[index] = size

    def read(self, offset: int, length: int) -> bytes:
        """What a read must return: zeros where nothing is stored."""
        out = bytearray()
        while length:
            index, start = divmod(offset, self._page_size)
            take = min(length, self._page_size - start)
            slot = self._slots.get(index)
            out += bytes(take) if slot is None else slot[start : start + take]
            offset += take
            length -= take
        return bytes(out)

    def content(self) -> DiskContent:
        """What must be accounted for now.

        A slot whose compressed size is not known may or may not be huge.
        """
        huge_low = huge_high = same = 0
        for index, slot in self._slots.items():
            if is_same_filled(bytes(slot)):
                same += 1
                continue
            size = self._compressed.get(index)
            huge = None if size is None else stored_size(size, self._geometry) == self._page_size
            huge_low += huge is True
            huge_high += huge is not False
        return DiskContent(len(self._slots), same, (huge_low, huge_high))
