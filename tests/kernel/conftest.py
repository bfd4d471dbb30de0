# SPDX-License-Identifier: GPL-2.0-only
"""A kernel tree of four files, for what needs a tree but no kernel, and a cache of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.deadline import Deadline
from toolkit.kernel import source
from toolkit.kernel.source import KernelSource, Tree
from toolkit.run import run

MAKEFILE = "# SPDX\nVERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 192\nEXTRAVERSION =\nNAME = Curry Ramen\n"
ZSMALLOC = "".join(f"line {number}\n" for number in range(1, 41))


def git(directory: Path, *words: str) -> str:
    """git in a user's repository, as a person with a name."""
    identity = ["-c", "user.name=A User", "-c", "user.email=user@example.org"]
    done = run(["git", "-C", directory, *identity, *words], deadline=Deadline.after(60))
    return done.stdout.strip()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory, used instead of the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pageless"


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A directory that passes for a kernel tree."""
    top = tmp_path / "linux"
    for name, text in (
        ("Makefile", MAKEFILE),
        ("Kconfig", "config A\n\tbool\n"),
        ("init/main.c", "int main;\n"),
        ("mm/zsmalloc.c", ZSMALLOC),
    ):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return top


@pytest.fixture
def user_tree(plain: Path) -> Path:
    """The same as a git tree with one commit."""
    git(plain, "init", "--quiet")
    git(plain, "add", "--all")
    git(plain, "commit", "--quiet", "--message", "all of it")
    return plain


@pytest.fixture
def tree(cache: Path, plain: Path) -> Tree:
    """The tree, fetched."""
    return source.fetch(KernelSource("fake", path=plain), progress=lambda _: None)
