# SPDX-License-Identifier: GPL-2.0-only
"""Strict loading of TOML declarations into frozen dataclasses.

A file's stem is the name of what it declares.  A field without a default is
required; an unknown key, a wrong type and a missing key fail with their line.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from toolkit.errors import DeclarationError, UnknownNameError

T = TypeVar("T")


def load(cls: type[T], path: Path) -> T:
    """The declaration at `path` as a `cls`, whose field `name` is the file's stem.

    Understood field types: str, int, float, bool, Path (relative to the file),
    `X | None`, tuple[X, ...], Mapping[str, X] and nested dataclasses.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DeclarationError(path, error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise DeclarationError(path, f"not UTF-8: {error.reason}") from None
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise DeclarationError(path, str(error), line=int(line[1]) if line else None) from None
    return _build(cls, table, _Origin(path, text, ()), name=path.stem)


def names(directory: Path, pattern: str = "*.toml") -> tuple[str, ...]:
    """The names declared in a directory, sorted."""
    return tuple(sorted(path.stem for path in directory.glob(pattern)))


def find(kind: str, directory: Path, name: str, suffix: str = ".toml") -> Path:
    """The file that declares `name`, or UnknownNameError with the near miss."""
    known = names(directory, f"*{suffix}")
    if name not in known:
        raise UnknownNameError(kind, name, known)
    return directory / f"{name}{suffix}"


@dataclasses.dataclass(frozen=True)
class _Origin:
    """Where in which file a value stands, for the messages."""

    path: Path
    text: str
    keys: tuple[str, ...]

    def below(self, key: str) -> _Origin:
        return dataclasses.replace(self, keys=(*self.keys, key))

    def fail(self, message: str, hint: str = "") -> DeclarationError:
        return DeclarationError(self.path, message, line=self._line(), hint=hint)

    def _line(self) -> int | None:
        """The line of the innermost key, searched below the headers of the outer ones."""
        lines = self.text.splitlines()
        at = 0
        found: int | None = None
        for key in self.keys:
            pattern = re.compile(rf"^\s*(\[+.*\b{re.escape(key)}\b.*\]+|[\"']?{re.escape(key)}[\"']?\s*=)")
            for number in range(at, len(lines)):
                if pattern.match(lines[number]):
                    found = number + 1
                    at = number + 1
                    break
        return found


def _build(cls: type[T], table: Mapping[str, Any], origin: _Origin, **given: Any) -> T:
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]  # T is a dataclass
    hints = typing.get_type_hints(cls)
    allowed = [name for name in fields if name not in given]
    values: dict[str, Any] = {name: value for name, value in given.items() if name in fields}
    for key, value in table.items():
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(allowed)}"
            raise origin.below(key).fail(f"unknown key {key!r}", hint)
        values[key] = _convert(hints[key], value, origin.below(key))
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise origin.fail(f"the key {name!r} is missing")
    try:
        return cls(**values)
    except ValueError as error:
        raise origin.fail(str(error)) from None


def _convert(hint: Any, value: Any, origin: _Origin) -> Any:
    shape = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if shape in (types.UnionType, typing.Union):
        return _convert(next(a for a in arguments if a is not type(None)), value, origin)
    if shape is tuple:
        if not isinstance(value, list):
            raise origin.fail(f"expected a list, not {value!r}")
        return tuple(_convert(arguments[0], item, origin) for item in value)
    if shape is not None and issubclass(shape, Mapping):
        if not isinstance(value, dict):
            raise origin.fail(f"expected a table, not {value!r}")
        return types.MappingProxyType(
            {key: _convert(arguments[1], item, origin.below(key)) for key, item in value.items()}
        )
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise origin.fail(f"expected a table, not {value!r}")
        return _build(hint, value, origin)
    if hint is Path:
        if not isinstance(value, str):
            raise origin.fail(f"expected a path, not {value!r}")
        return origin.path.parent / value
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise origin.fail(f"expected {hint.__name__}, not {value!r}")
    return value
