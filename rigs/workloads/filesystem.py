# SPDX-License-Identifier: GPL-2.0-only
"""A zram disk has a file system, whose pages move: but for those that it keeps pointers into."""

import struct
from dataclasses import dataclass

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import run, run_together
from toolkit.workload.zram import ZramDevice

DISK_BYTES = 24 << 20
MOUNTED = "/tmp/mounted"
# Of the disk itself: the superblock, what describes its blocks, and files.
METADATA_PAGES = 32
FILE_PAGES = 128
SCATTERED_MIB = 64
COPIES = 4
SECONDS = 3
# Copies of what compresses and what does not, made while memory is compacted; they are read from the disk.
_COPY = f"""\
head -c 2m /proc/kallsyms >/tmp/original && head -c 512k /dev/urandom >>/tmp/original || exit 1
for copy in $(seq {COPIES}); do
    cp /tmp/original {MOUNTED}/$copy && sync && sleep 0.5 || exit 1
done
echo '{{"cycles": {COPIES}}}'
"""
_COMPARE = f"""\
echo 3 >/proc/sys/vm/drop_caches
for copy in $(seq {COPIES}); do cmp /tmp/original {MOUNTED}/$copy; done
"""
# Its place, its size, and what it says of a file system that was unmounted (fs/ext2/ext2.h).
_SUPERBLOCK_BYTES = 1024
_CLEAN = 1


@dataclass(frozen=True)
class Superblock:
    """What a superblock of ext2 says of its file system; blocks are of 4 KiB."""

    free_blocks: int
    state: int


@workload(
    suites=["quick", "full"],
    deadline_s=240,
    single_threaded=False,
    needs=["ZRAM", "EXT2_FS", "COMPACTION", "MEMORY_FAILURE"],
    floors={
        "bytes_verified": (METADATA_PAGES + FILE_PAGES) << 12,
        "files_moved": FILE_PAGES // 2,
        "metadata_moved": 4,
        "mm_compaction_begin": 3,
    },
)
def exercise(bench: Bench) -> None:
    """Keep a file system on a zram disk while its pages, and the zspages that they are stored in, move."""
    guest = bench.guest
    pages_before = zram.nr_zspages(guest)
    with zram.disk(guest, DISK_BYTES) as device:
        guest.execute(f"mke2fs -b 4096 {device.device} && mkdir {MOUNTED}", deadline=bench.deadline)
        empty = _superblock(bench, device)
        zram.expect(bench, "made/state", _CLEAN, empty.state)
        _mount(bench, device)
        zram.expect(bench, "mounted/state", 0, _superblock(bench, device).state)
        _move_metadata(bench, device)
        report = run(bench, "file", f"cached --path={MOUNTED}/file --pages={FILE_PAGES} --write")
        bench.count("files_moved", report.number("moved"))
        with memory.scattered(bench, SCATTERED_MIB):
            compacting = f"poke --seconds={SECONDS} --every-ms=200 {memory.COMPACT}"
            run_together(bench, {"copied": _COPY, "compacting": compacting})
        _check_copies(bench, "copied")
        bench.checkpoint("copied")

        _unmount(bench)
        zram.expect(bench, "unmounted/state", _CLEAN, _superblock(bench, device).state)
        _mount(bench, device)
        _check_copies(bench, "mounted")
        guest.execute(f"rm {MOUNTED}/[0-9]* {MOUNTED}/file", deadline=bench.deadline)
        _unmount(bench)
        zram.expect(bench, "removed", empty, _superblock(bench, device))
        zram.check_io_errors(bench, "removed", device)
        bench.checkpoint("removed")
    zram.check_residue(bench, "gone", pages_before)


def _move_metadata(bench: Bench, device: ZramDevice) -> None:
    report = run(bench, "metadata", f"cached --path={device.device} --pages={METADATA_PAGES}")
    bench.count("metadata_moved", report.number("moved"))
    bench.check(
        "metadata/superblock",
        report.number("first_moved") == 0,
        expected="the superblock's page stays",
        seen="it moved" if report.number("first_moved") else "it stays",
        because="the file system has a pointer into it for as long as it is mounted",
    )


def _mount(bench: Bench, device: ZramDevice) -> None:
    bench.guest.execute(f"mount -t ext2 -o noatime {device.device} {MOUNTED}", deadline=bench.deadline)


def _unmount(bench: Bench) -> None:
    bench.guest.execute(f"umount {MOUNTED}", deadline=bench.deadline)


def _superblock(bench: Bench, device: ZramDevice) -> Superblock:
    """The one that the page cache of the disk has: at least, if it is mounted, the one that is in use."""
    command = f"dd if={device.device} bs={_SUPERBLOCK_BYTES} skip=1 count=1 2>/dev/null"
    content = bench.guest.execute(command, deadline=bench.deadline).stdout
    (free_blocks,) = struct.unpack_from("<I", content, 12)
    (state,) = struct.unpack_from("<H", content, 58)
    return Superblock(free_blocks=free_blocks, state=state)


def _check_copies(bench: Bench, label: str) -> None:
    different = bench.guest.execute(_COMPARE, deadline=bench.deadline, ok=(0, 1)).text
    bench.check(
        f"content/{label}/copies",
        not different,
        expected=f"{COPIES} files as they were written",
        seen=different or "the same",
        because="what is stored comes back unchanged",
    )
