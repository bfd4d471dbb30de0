# SPDX-License-Identifier: GPL-2.0-only
"""The workloads that rigs/workloads/ declares, by name and by suite."""

from __future__ import annotations

import importlib.util
import traceback
from pathlib import Path

from toolkit import declare, places
from toolkit.errors import DeclarationError, UnknownNameError
from toolkit.workload import SUITES, Workload


def directory() -> Path:
    return places.declared("rigs") / "workloads"


def names() -> tuple[str, ...]:
    """The names of all workloads, sorted."""
    return declare.names(directory(), "*.py")


def load(name: str) -> Workload:
    """The workload `name`, or UnknownNameError; a file that is wrong is a DeclarationError."""
    return load_file(declare.find("workload", directory(), name, ".py"))


def suite(name: str) -> tuple[Workload, ...]:
    """All workloads of a suite, sorted by name; an unknown suite is an UnknownNameError."""
    if name not in SUITES:
        raise UnknownNameError("suite", name, SUITES)
    return tuple(workload for workload in map(load, names()) if name in workload.suites)


def select(name: str) -> tuple[Workload, ...]:
    """The workload of that name, or all of the suite of that name."""
    if name in SUITES:
        return suite(name)
    known = names()
    if name not in known:
        raise UnknownNameError("workload or suite", name, (*known, *SUITES))
    return (load(name),)


def load_file(path: Path) -> Workload:
    """The one workload that a file declares, named after it; else DeclarationError with the line."""
    # A stem may hold hyphens, which an import statement could not spell.
    specification = importlib.util.spec_from_file_location(f"pageless_workloads.{path.stem}", path)
    if specification is None or specification.loader is None:
        raise DeclarationError(path, "not a Python file")
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except SyntaxError as error:
        raise DeclarationError(path, error.msg, line=error.lineno) from None
    except Exception as error:
        raise DeclarationError(
            path, f"{type(error).__name__}: {error}", line=_line_in(path, error)
        ) from error
    found = [value for value in vars(module).values() if isinstance(value, Workload)]
    if not found:
        raise DeclarationError(path, "no workload in it", hint="declare a function with @workload")
    if len(found) > 1:
        raise DeclarationError(
            path, f"{len(found)} workloads in it", hint="a file declares one, named after it"
        )
    return found[0]


def _line_in(path: Path, error: Exception) -> int | None:
    """The innermost line of that file on the error's way, if it came by."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    return lines[-1] if lines else None
