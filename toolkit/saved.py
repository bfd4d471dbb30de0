# SPDX-License-Identifier: GPL-2.0-only
"""Frozen dataclasses kept as JSON files: written atomically, read strictly."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, TypeVar

import cattrs.preconf.json

from toolkit.errors import StoreError

T = TypeVar("T")

_converter = cattrs.preconf.json.make_converter(forbid_extra_keys=True)


def to_plain(value: object) -> Any:
    """Dictionaries, lists and scalars that json.dumps takes."""
    return _converter.unstructure(value)


def write(path: Path, value: object) -> None:
    """Replace `path` with the JSON of `value` at once; StoreError if it cannot be written."""
    write_text(path, json.dumps(to_plain(value), indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace `path` with `text` at once, so that nobody reads a part; StoreError if it cannot be written."""
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
            try:
                file.write(text)
                file.flush()
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}", hint="free some space, or set XDG_STATE_HOME") from None


def read(cls: type[T], path: Path) -> T:
    """The `cls` kept at `path`; StoreError if it is absent, unreadable or of another shape."""
    try:
        return _converter.structure(json.loads(path.read_text(encoding="utf-8")), cls)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, cattrs.BaseValidationError) as error:
        raise StoreError(f"{path}: not a {cls.__name__} of this version: {error}") from None
