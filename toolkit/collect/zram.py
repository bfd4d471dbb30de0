# SPDX-License-Identifier: GPL-2.0-only
"""zram's statistics in sysfs: mm_stat, io_stat, bd_stat, and the block layer's stat.

The columns are documented in Documentation/admin-guide/blockdev/zram.rst; new ones are
only ever appended.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from toolkit.collect.collector import Collector, numbers


@dataclass(frozen=True)
class MmStat:
    """Sizes in bytes, the others in pages.

    `compr_data_size` counts objects as stored, without what zsmalloc adds;
    `mem_used_total` is the pool's pages.  `huge_pages` are stored now, and
    `huge_pages_since` were since the device was set up (0 where the kernel does not say).
    """

    orig_data_size: int
    compr_data_size: int
    mem_used_total: int
    mem_limit: int
    mem_used_max: int
    same_pages: int
    pages_compacted: int
    huge_pages: int
    huge_pages_since: int = 0


@dataclass(frozen=True)
class IoStat:
    """Counts since the device was made.  Newer kernels keep `invalid_io` at 0."""

    failed_reads: int
    failed_writes: int
    invalid_io: int
    notify_free: int


# Bytes that bd_stat counts as one.
BD_UNIT = 4096


@dataclass(frozen=True)
class BdStat:
    """The backing device, in units of BD_UNIT (`bd_count` slots on it now)."""

    bd_count: int
    bd_reads: int
    bd_writes: int


@dataclass(frozen=True)
class BlockStat:
    """Documentation/block/stat.rst, the first columns: requests, 512-byte sectors, milliseconds."""

    read_ios: int
    read_merges: int
    read_sectors: int
    read_ticks_ms: int
    write_ios: int
    write_merges: int
    write_sectors: int
    write_ticks_ms: int


def parse_mm_stat(text: str) -> MmStat:
    return MmStat(*numbers(text, 8, "mm_stat")[:9])


def parse_io_stat(text: str) -> IoStat:
    return IoStat(*numbers(text, 4, "io_stat")[:4])


def parse_bd_stat(text: str) -> BdStat:
    return BdStat(*numbers(text, 3, "bd_stat")[:3])


def parse_stat(text: str) -> BlockStat:
    return BlockStat(*numbers(text, 11, "stat")[:8])


MM_STAT = Collector("zram mm_stat", ("/sys/block/zram*/mm_stat",), parse_mm_stat)
IO_STAT = Collector("zram io_stat", ("/sys/block/zram*/io_stat",), parse_io_stat)
BD_STAT = Collector("zram bd_stat", ("/sys/block/zram*/bd_stat",), parse_bd_stat)
STAT = Collector("zram stat", ("/sys/block/zram*/stat",), parse_stat)


def device_of(path: str) -> str:
    """ "zram0" of "/sys/block/zram0/mm_stat"."""
    return PurePosixPath(path).parent.name
