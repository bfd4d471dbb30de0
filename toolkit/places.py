# SPDX-License-Identifier: GPL-2.0-only
"""Where things live: declarations of this project, the cache, the state."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def declared(kind: str) -> Path:
    """The directory of declarations of `kind`: "patches", "rigs" or "configs".

    A checkout is preferred; an installed wheel carries a copy inside the package.
    """
    checkout = _PACKAGE.parent / kind
    return checkout if checkout.is_dir() else _PACKAGE / "declared" / kind


def cache_dir() -> Path:
    """What can be rebuilt: sources, work trees, kernels, images, templates."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def state_dir() -> Path:
    """What cannot: the runs."""
    return _xdg("XDG_STATE_HOME", ".local/state")


def free_mib(path: Path) -> int:
    """How many MiB are free where `path` is, or would be made."""
    there = next(each for each in (path, *path.parents) if each.exists())
    return shutil.disk_usage(there).free >> 20


def _xdg(variable: str, fallback: str) -> Path:
    base = os.environ.get(variable, "")
    # The XDG base directory specification says to ignore a relative path.
    root = Path(base) if base.startswith("/") else Path.home() / fallback
    return root / "pageless"
