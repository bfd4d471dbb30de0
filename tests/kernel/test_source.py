# SPDX-License-Identifier: GPL-2.0-only
"""Trees of every origin are the same tree, and the user's own is only read."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from tests.kernel.conftest import MAKEFILE, git
from toolkit import declare
from toolkit.errors import DeclarationError, SourceError, UnknownNameError
from toolkit.kernel import source
from toolkit.kernel.source import KernelSource, Tree


def _fetch(name: str | Path) -> Tree:
    return source.fetch(source.load(str(name)), progress=lambda _: None)


def _fingerprint(directory: Path) -> dict[str, tuple[str, int]]:
    """Content and time of every file below, .git included; git itself refreshes the times of objects."""
    return {
        str(path.relative_to(directory)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            0 if ".git/objects" in str(path) else path.stat().st_mtime_ns,
        )
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("name", source.names())
def test_a_declared_kernel_is_a_package(name: str) -> None:
    found = source.load(name)
    assert found.name == name
    assert found.package.startswith("linux-source-")
    assert found.path is None


def test_a_kernel_is_either_a_package_or_a_path(tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_text('package = "x"\npath = "y"\n', encoding="utf-8")
    with pytest.raises(DeclarationError, match="either a package or a path"):
        declare.load(KernelSource, tmp_path / "odd.toml")


@pytest.mark.usefixtures("cache")
def test_directory_git_tree_revision_and_tarball_give_the_same_tree(user_tree: Path, tmp_path: Path) -> None:
    from_git = _fetch(user_tree)
    from_revision = _fetch(f"{user_tree}@HEAD")
    with tarfile.open(tmp_path / "linux.tar.xz", "w:xz") as archive:
        archive.add(user_tree, "linux-6.1", filter=lambda info: None if "/.git" in info.name else info)
    from_tarball = _fetch(tmp_path / "linux.tar.xz")
    (user_tree / ".git").rename(tmp_path / "moved")
    from_directory = _fetch(user_tree)
    trees = [from_git, from_revision, from_tarball, from_directory]
    assert {tree.tree_id for tree in trees} == {
        git(user_tree, "--git-dir", str(tmp_path / "moved"), "rev-parse", "HEAD^{tree}")
    }
    assert {tree.version for tree in trees} == {"6.1.192"}
    assert from_git.commit == from_revision.commit == from_directory.commit
    assert from_revision.name == "linux@HEAD"


def test_a_dirty_git_tree_is_imported_as_it_is_and_left_as_it_was(cache: Path, user_tree: Path) -> None:
    clean = _fetch(user_tree)
    (user_tree / "mm/zsmalloc.c").write_text("edited\n", encoding="utf-8")
    (user_tree / "Kconfig").write_text("staged\n", encoding="utf-8")
    git(user_tree, "add", "Kconfig")
    (user_tree / "untracked.o").write_text("junk\n", encoding="utf-8")
    before = _fingerprint(user_tree)
    tree = _fetch(user_tree)
    assert _fingerprint(user_tree) == before
    assert tree.tree_id != clean.tree_id
    assert tree.repository.show(tree.commit, "mm/zsmalloc.c") == "edited\n"
    assert tree.repository.show(tree.commit, "Kconfig") == "staged\n"
    assert tree.repository.show(tree.commit, "untracked.o") is None
    assert _fetch(f"{user_tree}@HEAD").tree_id == clean.tree_id


def test_our_copy_stands_without_the_users_repository(cache: Path, user_tree: Path) -> None:
    tree = _fetch(user_tree)
    user_tree.rename(user_tree.with_name("gone"))
    done = tree.repository.git("rev-list", "--objects", tree.commit)
    # A commit, three directories and four files.
    assert len(done.stdout.splitlines()) == 8
    assert tree.repository.git("fsck", "--full", "--no-dangling").stdout == ""


def test_a_file_deleted_from_a_git_tree_is_not_imported(cache: Path, user_tree: Path) -> None:
    (user_tree / "extra.c").write_text("x\n", encoding="utf-8")
    git(user_tree, "add", "extra.c")
    assert _fetch(user_tree).repository.show(_fetch(user_tree).commit, "extra.c") == "x\n"
    (user_tree / "extra.c").unlink()
    tree = _fetch(user_tree)
    assert tree.repository.show(tree.commit, "extra.c") is None


def test_a_hooks_environment_does_not_lead_us_astray(
    cache: Path, user_tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = _fetch(user_tree)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "no-index"))
    (user_tree / "mm/zsmalloc.c").write_text("edited\n", encoding="utf-8")
    tree = _fetch(user_tree)
    assert tree.repository.show(tree.commit, "mm/zsmalloc.c") == "edited\n"
    assert tree.git_dir == expected.git_dir
    assert not (tmp_path / "no-index").exists()


def test_a_plain_directory_is_imported_whole_and_again_after_an_edit(cache: Path, plain: Path) -> None:
    """Debian's tarballs ignore everything in their top .gitignore."""
    (plain / ".gitignore").write_text("/*\n*.x\n", encoding="utf-8")
    (plain / "mm/data.x").write_text("x\n", encoding="utf-8")
    first = _fetch(plain)
    assert first.repository.show(first.commit, "mm/data.x") == "x\n"
    (plain / "mm/zsmalloc.c").write_text("edited\n", encoding="utf-8")
    (plain / "mm/data.x").unlink()
    second = _fetch(plain)
    assert second.repository.show(second.commit, "mm/zsmalloc.c") == "edited\n"
    assert second.repository.show(second.commit, "mm/data.x") is None
    assert second.repository.show(second.commit, "Kconfig") == first.repository.show(first.commit, "Kconfig")


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("product", [".config", "include/config/x", "include/generated/x"])
def test_a_directory_in_which_a_kernel_was_built_is_refused(plain: Path, product: str) -> None:
    (plain / product).parent.mkdir(parents=True, exist_ok=True)
    (plain / product).touch()
    with pytest.raises(SourceError, match="a kernel was configured or built in") as caught:
        _fetch(plain)
    assert caught.value.hint.startswith("make mrproper there")


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("absent", ["Makefile", "Kconfig", "init/main.c", "mm/zsmalloc.c"])
def test_what_is_no_kernel_tree_is_refused(plain: Path, absent: str) -> None:
    (plain / absent).unlink()
    with pytest.raises(SourceError, match=f"is no kernel tree: it has no {absent}"):
        _fetch(plain)


@pytest.mark.usefixtures("cache")
def test_a_makefile_without_a_version_is_refused(plain: Path) -> None:
    (plain / "Makefile").write_text("all:\n", encoding="utf-8")
    with pytest.raises(SourceError, match="declares no kernel version"):
        _fetch(plain)


@pytest.mark.usefixtures("cache")
def test_revisions_and_paths_that_are_not_there_are_the_users_fault(user_tree: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has no revision 'no-such'"):
        _fetch(f"{user_tree}@no-such")
    with pytest.raises(SourceError, match="no such kernel tree"):
        _fetch(tmp_path / "absent")
    with pytest.raises(UnknownNameError, match=r"unknown kernel '6\.11'"):
        _fetch("6.11")
    (user_tree / ".git").rename(tmp_path / "moved")
    with pytest.raises(SourceError, match="is no git tree"):
        _fetch(f"{user_tree}@HEAD")


@pytest.mark.usefixtures("cache")
def test_a_file_that_is_no_tarball_is_refused(tmp_path: Path) -> None:
    (tmp_path / "linux.tar.xz").write_bytes(b"no tarball at all")
    with pytest.raises(SourceError, match="cannot be read as a tarball"):
        _fetch(tmp_path / "linux.tar.xz")
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(SourceError, match="it holds nothing below a directory"):
        _fetch(tmp_path / "empty.tar")


@pytest.mark.usefixtures("cache")
def test_a_tarball_that_leaves_its_directory_is_refused(plain: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        archive.add(plain, "linux")
        archive.add(plain / "Kconfig", "linux/../../evil")
    with pytest.raises(SourceError, match="leaves the tree"):
        _fetch(tmp_path / "evil.tar")


def test_modes_links_and_odd_names_of_a_tarball_survive(cache: Path, plain: Path, tmp_path: Path) -> None:
    (plain / "script.sh").write_text("#!/bin/sh\n", encoding="utf-8")
    (plain / "script.sh").chmod(0o755)
    (plain / "link").symlink_to("script.sh")
    (plain / 'a "quoted" näme').write_text("x\n", encoding="utf-8")
    (plain / "hard").hardlink_to(plain / "Kconfig")
    with tarfile.open(tmp_path / "linux.tar.gz", "w:gz") as archive:
        archive.add(plain, "linux")
    tree = _fetch(tmp_path / "linux.tar.gz")
    assert tree.tree_id == _fetch(plain).tree_id
    listed = tree.repository.git("ls-tree", tree.commit, "script.sh", "link").stdout
    assert "100755 blob" in listed
    assert "120000 blob" in listed


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (MAKEFILE, "6.1.192"),
        ("VERSION = 7\nPATCHLEVEL = 2\nSUBLEVEL = 0\nEXTRAVERSION = -rc3\n", "7.2.0-rc3"),
        ("VERSION = 7\nPATCHLEVEL = 2\nSUBLEVEL =\nEXTRAVERSION =\n", "7.2.0"),
    ],
)
def test_a_version_is_read_from_the_makefile(text: str, version: str) -> None:
    assert source.version_of(text, Path("x")) == version


def test_a_trees_line_is_its_release(tree: Tree) -> None:
    assert (tree.line, tree.release) == ("6.1", (6, 1))


@pytest.mark.kernel
def test_the_package_of_6_1_is_imported_once_with_the_same_id_everywhere() -> None:
    tree = _fetch("6.1")
    again = _fetch("6.1")
    assert tree == again
    assert tree.line == "6.1"
    assert tree.package_version.startswith(tree.version)
    listed = tree.repository.git("ls-tree", "-r", "--name-only", tree.commit).stdout.splitlines()
    assert len(listed) > 70_000
    assert "mm/zsmalloc.c" in listed
