# SPDX-License-Identifier: GPL-2.0-only
"""The form of a collector: which files, and what their text says."""

from __future__ import annotations

import fnmatch
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

import toolkit.collect
from toolkit.errors import CaptureError

T = TypeVar("T")


@dataclass(frozen=True)
class Collector(Generic[T]):
    """Files of the guest, named by globs, and a pure parser of one such file's text.

    `parse` raises ValueError at a text of no form that it knows.
    """

    name: str
    paths: tuple[str, ...]
    parse: Callable[[str], T]

    def read(self, files: Mapping[str, str], path: str) -> T:
        """What the file at `path` among `files` says; CaptureError if it is absent or unknown."""
        if path not in files:
            raise CaptureError(path, "the guest has no such file", hint="is it enabled in the configuration?")
        try:
            return self.parse(files[path])
        except ValueError as error:
            raise CaptureError(path, str(error)) from error

    def read_all(self, files: Mapping[str, str]) -> dict[str, T]:
        """What each of this collector's files says, by path; empty if there is none."""
        return {
            path: self.read(files, path)
            for path in files
            if any(fnmatch.fnmatchcase(path, pattern) for pattern in self.paths)
        }


@cache
def collectors() -> tuple[Collector[Any], ...]:
    """Every collector that a module of this package declares, by name."""
    modules = (
        importlib.import_module(f"toolkit.collect.{found.name}")
        for found in pkgutil.iter_modules(toolkit.collect.__path__)
    )
    declared = {
        value.name: value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Collector)
    }
    return tuple(declared[name] for name in sorted(declared))


def numbers(line: str, least: int, what: str) -> list[int]:
    """The integers of a line, at least so many of them, or ValueError."""
    try:
        values = [int(word) for word in line.split()]
    except ValueError:
        raise ValueError(f"{what}: not a line of numbers: {line!r}") from None
    if len(values) < least:
        raise ValueError(f"{what}: {len(values)} numbers, at least {least} were expected: {line!r}")
    return values
