# SPDX-License-Identifier: GPL-2.0-only
"""Machines: one file in rigs/ each says what a guest has, whatever its architecture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolkit import declare, places


@dataclass(frozen=True)
class Machine:
    """What a guest has."""

    # After its file.
    name: str
    # One line for the reader.
    title: str
    cpus: int = 2
    # In all nodes together, which have as much each, and as many processors.
    memory_mib: int = 512
    nodes: int = 1
    # Memory that can be plugged in while it runs, in all modules together.
    pluggable_mib: int = 0
    # Of that, what can be taken offline while it runs, as far as all in it can be moved.  Where memory of
    # boot never can, the kernel is not told of it: `workload.memory.add_removable` does that.
    removable_mib: int = 0
    # Appended to the kernel's command line on every architecture.
    append: str = ""
    # Whether it has a balloon, which gives memory back to the host: such a guest is never cloned.
    balloon: bool = False
    # How long a boot may take on an idle host, until ssh answers.
    boot_s: float = 60.0


def directory() -> Path:
    return places.declared("rigs")


def load(name: str) -> Machine:
    """The machine `name`, or UnknownNameError."""
    return declare.load(Machine, declare.find("machine", directory(), name))


def names() -> tuple[str, ...]:
    return declare.names(directory())
