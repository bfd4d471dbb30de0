# SPDX-License-Identifier: GPL-2.0-only
"""Trees for a run: each kernel is fetched once, and TREE@base is what the series was made for."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.conftest import git
from toolkit import pipeline
from toolkit.errors import InputError


class _Told:
    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, title: str) -> Any:
        self.steps.append(title)
        return contextlib.nullcontext(lambda text: None)


def test_base_is_the_commit_that_the_series_names(user_tree: Path, cache: Path, tmp_path: Path) -> None:
    """The tree has moved on since; on its head the patch would not apply."""
    base = git(user_tree, "rev-parse", "HEAD")
    (user_tree / "init/main.c").write_text("int one;\n", encoding="utf-8")
    patch = tmp_path / "one.patch"
    patch.write_text(f"{git(user_tree, 'diff')}\n\nbase-commit: {base}\n", encoding="utf-8")
    git(user_tree, "commit", "--quiet", "--all", "--message", "applied")
    told = _Told()
    tree = pipeline.patched(f"{user_tree}@base", str(patch), told)
    assert tree.tree_id == git(user_tree, "rev-parse", "HEAD^{tree}")
    with pytest.raises(InputError, match="has no base-commit trailer"):
        pipeline.patched(f"{user_tree}@base", "none", told)


def test_a_kernel_is_fetched_once_for_all_its_series(user_tree: Path, cache: Path, tmp_path: Path) -> None:
    (user_tree / "init/main.c").write_text("int one;\n", encoding="utf-8")
    patch = tmp_path / "one.patch"
    patch.write_text(git(user_tree, "diff") + "\n", encoding="utf-8")
    git(user_tree, "checkout", "--quiet", ".")
    told = _Told()
    wanted = [(str(user_tree), name) for name in (f"{patch}@0", f"{patch}@1", str(patch), f"{patch}@0")]
    trees = pipeline.patched_all(wanted, told)
    assert [step.split()[0] for step in told.steps] == ["fetch", "apply", "apply", "apply"]
    assert len({tree.tree_id for tree in trees.values()}) == 2
