# SPDX-License-Identifier: GPL-2.0-only
"""What to look at again when a file of a tree, a series or a workload changes."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import InputError, MissingToolError
from toolkit.kernel import series, source
from toolkit.workload import catalogue

# Editors' and builds' leavings, and what git keeps to itself.
_IGNORED_SUFFIXES = (".o", ".cmd", ".d", ".a", ".swp", ".swx", ".tmp", ".orig", ".rej", "~")
# What the user-space build reads of a tree.
_SIMULATED = ("mm/zsmalloc.c", "include/linux/zsmalloc.h")


@dataclass(frozen=True)
class Affected:
    """What a change asks for: whether to simulate, and which workloads to run."""

    simulate: bool
    workloads: tuple[str, ...]


@dataclass(frozen=True)
class Watched:
    """The files whose change matters: a tree of the user's, a series, and the workloads' directory."""

    tree: Path | None
    series: Path | None
    workloads: Path

    @classmethod
    def of(cls, kernel: str, name: str) -> Watched:
        """What can change of a kernel and a series; InputError if nothing of them is a file here."""
        tree = source.load(kernel)
        found = series.load(name)
        directory = found.directory
        if directory is None and Path(name).expanduser().exists():
            directory = Path(name).expanduser().resolve()
        root = None if tree.path is None or tree.revision else tree.path.resolve()
        if root is None and directory is None:
            raise InputError(
                f"neither the kernel {kernel} nor the series {name} has files that can change",
                hint="name a tree: --kernel ~/linux, or a series that is a directory",
            )
        return cls(root, None if directory is None else directory.resolve(), catalogue.directory().resolve())

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.tree, self.series, self.workloads) if path is not None)

    def matters(self, path: Path) -> bool:
        """Whether a changed file is one that somebody wrote."""
        parts = path.parts
        return (
            ".git" not in parts
            and not path.name.startswith(".")
            and not path.name.endswith(_IGNORED_SUFFIXES)
        )

    def affected(self, changed: Iterable[Path], suite: str) -> Affected:
        """What to do after these files changed; `suite` is what a changed kernel is tried with."""
        simulate, workloads = False, dict[str, None]()
        for path in changed:
            if path.is_relative_to(self.workloads):
                if path.suffix == ".py" and path.exists():
                    workloads[path.stem] = None
                continue
            workloads[suite] = None
            in_tree = self.tree is not None and path.is_relative_to(self.tree)
            if not in_tree or str(path.relative_to(self.tree or path)) in _SIMULATED:
                simulate = True
        # A suite that runs anyway is not run a second time for one of its workloads.
        chosen = [suite] if suite in workloads else list(workloads)
        members = {member.name for name in chosen if name == suite for member in catalogue.select(name)}
        chosen += [name for name in workloads if name != suite and name not in members and name not in chosen]
        return Affected(simulate, tuple(chosen))


def changes(watched: Watched) -> Iterator[frozenset[Path]]:
    """The files that changed, each time some did, until interrupted."""
    try:
        watchfiles: Any = importlib.import_module("watchfiles")
    except ImportError:
        raise MissingToolError(
            "watchfiles is not installed", hint="pip install 'pageless[watch]', or pip install watchfiles"
        ) from None
    for batch in watchfiles.watch(*watched.paths, watch_filter=None, raise_interrupt=True):
        found = frozenset(path for path in (Path(name) for _, name in batch) if watched.matters(path))
        if found:
            yield found
