# SPDX-License-Identifier: GPL-2.0-only
"""Compiling and running the guest programs on this host."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.deadline import Deadline
from toolkit.places import declared
from toolkit.run import run

SOURCES = sorted((declared("rigs") / "guest").glob("*.c"))


@dataclass(frozen=True)
class Ran:
    """How a program ended, and the report that it printed, empty if none."""

    status: int
    report: dict[str, Any]
    stderr: str


def build(directory: Path) -> Path:
    for source in SOURCES:
        argv = [
            "gcc", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread",
            "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
            str(source),
            "-o", str(directory / source.stem),
        ]  # fmt: skip
        run(argv, deadline=Deadline.after(120))
    return directory


def run_program(program: Path, *arguments: str, cwd: Path) -> Ran:
    done = run([program, *arguments], deadline=Deadline.after(60), cwd=cwd, ok=None)
    return Ran(done.status, json.loads(done.stdout) if done.stdout.strip() else {}, done.stderr)
