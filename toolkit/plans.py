# SPDX-License-Identifier: GPL-2.0-only
"""Plans: which cells a long run goes over, declared in configs/plans/ or in a file of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolkit import declare, places


@dataclass(frozen=True)
class Matrix:
    """The product of all its lists; `archs` empty stands for all, `workloads` may name suites."""

    name: str
    title: str
    kernels: tuple[str, ...]
    series: tuple[str, ...]
    workloads: tuple[str, ...]
    archs: tuple[str, ...] = ()
    configs: tuple[str, ...] = ("base",)
    seeds: tuple[int, ...] = (1,)
    # Runs of every cell with every seed.
    repeat: int = 1


def directory() -> Path:
    return places.declared("configs") / "plans"


def names() -> tuple[str, ...]:
    return declare.names(directory())


def load(name_or_path: str) -> Matrix:
    """A declared plan, or the one in a TOML file; UnknownNameError or DeclarationError."""
    path = Path(name_or_path).expanduser()
    if path.suffix == ".toml":
        return declare.load(Matrix, path)
    return declare.load(Matrix, declare.find("plan", directory(), name_or_path))
