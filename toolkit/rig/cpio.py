# SPDX-License-Identifier: GPL-2.0-only
"""Writes newc cpio archives, the kernel's initramfs format: byte for byte the same for the same entries.

The format: Documentation/driver-api/early-userspace/buffer-format.rst in the kernel tree.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

_TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """One file, all of it root's.  `mode` holds type and permissions; `device` is (major, minor)."""

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(path: str, permissions: int = 0o755) -> Entry:
    return Entry(path, stat.S_IFDIR | permissions)


def file(path: str, data: bytes, permissions: int = 0o644) -> Entry:
    return Entry(path, stat.S_IFREG | permissions, data)


def symlink(path: str, target: str) -> Entry:
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, major: int, minor: int, permissions: int = 0o600) -> Entry:
    """A device node: in an archive it needs no root, unlike mknod."""
    return Entry(path, stat.S_IFCHR | permissions, device=(major, minor))


def pack(entries: Iterable[Entry]) -> bytes:
    """An archive of `entries` in their order; directories must come before what is in them."""
    members = [_member(number, entry) for number, entry in enumerate(entries, start=1)]
    members.append(_member(0, Entry(_TRAILER, 0)))
    return b"".join(members)


def _member(inode: int, entry: Entry) -> bytes:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    mtime = 0
    fields = (
        inode,
        entry.mode,
        0,  # uid
        0,  # gid
        links,
        mtime,
        len(entry.data),
        0,  # the device it was on, major
        0,  # and minor
        *entry.device,
        len(name),
        0,  # no checksum in newc
    )
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
