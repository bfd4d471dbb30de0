# SPDX-License-Identifier: GPL-2.0-only
"""Archives as cpio itself reads them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from toolkit.deadline import Deadline
from toolkit.rig import cpio
from toolkit.run import run

# doctor installs it, but only root can; nothing but these tests needs it.
pytestmark = pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")

ENTRIES = (
    cpio.directory("etc"),
    cpio.directory("root", 0o700),
    cpio.file("etc/empty", b""),
    cpio.file("etc/odd", b"12345", 0o755),
    cpio.symlink("bin", "usr/bin"),
    cpio.character_device("console", 5, 1),
)


def listed(archive: bytes) -> dict[str, list[str]]:
    done = run(
        ["cpio", "--list", "--verbose", "--quiet", "--numeric-uid-gid"],
        deadline=Deadline.after(10),
        stdin=archive,
    )
    assert done.stderr == ""
    lines = (line.split() for line in done.stdout.splitlines())
    return {words[words.index("->") - 1] if "->" in words else words[-1]: words for words in lines}


def test_cpio_lists_what_was_packed() -> None:
    found = listed(cpio.pack(ENTRIES))
    assert list(found) == ["etc", "root", "etc/empty", "etc/odd", "bin", "console"]
    assert found["root"][0] == "drwx------"
    assert found["etc/odd"][0] == "-rwxr-xr-x"
    assert found["bin"][-1] == "usr/bin"
    assert found["console"][0] == "crw-------"
    assert found["console"][4:6] == ["5,", "1"]
    assert {tuple(words[2:4]) for words in found.values()} == {("0", "0")}


def test_what_cpio_extracts_is_what_was_packed(tmp_path: Path) -> None:
    data = bytes(range(256)) * 33
    archive = cpio.pack((cpio.directory("a"), cpio.file("a/b", data), cpio.symlink("c", "a/b")))
    run(
        ["cpio", "--extract", "--quiet", "--no-preserve-owner"],
        deadline=Deadline.after(10),
        stdin=archive,
        cwd=tmp_path,
    )
    assert (tmp_path / "a/b").read_bytes() == data
    assert (tmp_path / "c").read_bytes() == data


def test_the_same_entries_give_the_same_bytes() -> None:
    assert cpio.pack(ENTRIES) == cpio.pack(ENTRIES)


def test_every_member_begins_at_a_multiple_of_four() -> None:
    """The kernel's reader relies on it."""
    for length in range(8):
        archive = cpio.pack((cpio.file("x" * (length + 1), bytes(length)), *ENTRIES))
        assert len(archive) % 4 == 0
        assert len(listed(archive)) == len(ENTRIES) + 1
