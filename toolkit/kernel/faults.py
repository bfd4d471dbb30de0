# SPDX-License-Identifier: GPL-2.0-only
"""Planted faults: patches that make a kernel wrong on purpose, with what is known of them.

A fault is one patch below patches/faults/LINE/.  Its message ends in lines "Key: value"::

    History: 2023, a stale source after putback
    Symptom: a corrupt list, on compaction
    Workload: zram-compact
    Config: kasan              what the symptom needs; thorough if not given
    Arch: arm64                where it shows; everywhere if not given
    Series: pageless-owner     what it is planted in; the tree as it is if not given
    Mark: sometimes            or equivalent: the kernel is as right as before
    Survives: nobody looks     why nothing finds it
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from toolkit import places
from toolkit.errors import DeclarationError, UnknownNameError
from toolkit.kernel import series

EQUIVALENT = "equivalent"
SOMETIMES = "sometimes"

_KEYS = (
    "History", "Symptom", "Workload", "Config", "Arch", "Series", "Mark", "Survives", "Operator", "Function",
)  # fmt: skip
_TRAILER = re.compile(r"([A-Z][a-z]+): (.+)")


@dataclass(frozen=True)
class Fault:
    """One fault; `path` is a patch that series.load takes."""

    name: str
    path: Path
    title: str
    # Where it comes from: the year of a real bug, or how it was made.
    history: str
    # Of the files that the patch touches.
    files: tuple[str, ...]
    symptom: str = ""
    # What should find it first.
    workloads: tuple[str, ...] = ()
    config: str = "thorough"
    # Where it can be found; empty for everywhere.
    archs: tuple[str, ...] = ()
    # What the tree has when it is planted.
    series: str = series.BASELINE
    # "", EQUIVALENT or SOMETIMES.
    mark: str = ""
    # Why nothing finds it, as far as it is known.
    survives: str = ""
    operator: str = ""
    function: str = ""

    @property
    def planted(self) -> str:
        """The series that is built: this fault, on top of what it is planted in."""
        return str(self.path) if self.series == series.BASELINE else f"{self.series}+{self.path}"

    @property
    def sha256(self) -> str:
        """Of the diff alone, in hexadecimal: what is said about it may change."""
        text = self.path.read_bytes()
        # A user's patch may be a diff and no more.
        return hashlib.sha256(text.partition(b"\n---\n")[2] or text).hexdigest()


def directory(line: str) -> Path:
    """Where the faults for the release `line` ("6.1") live."""
    return places.declared("patches") / "faults" / line


def lines() -> tuple[str, ...]:
    """The releases that there are faults for, sorted."""
    return tuple(
        sorted(path.name for path in (places.declared("patches") / "faults").iterdir() if path.is_dir())
    )


def line_of(release: str) -> str:
    """The release whose faults fit a kernel of that one: its own, else 6.1's, which may not apply."""
    return release if release in lines() else lines()[0]


def names(line: str) -> tuple[str, ...]:
    """The faults for a release, sorted."""
    return tuple(sorted(path.stem for path in directory(line).glob("*.patch")))


def load(line: str, name: str) -> Fault:
    """The fault `name`, or UnknownNameError; one whose message is wrong is a DeclarationError."""
    path = directory(line) / f"{name}.patch"
    if not path.is_file():
        raise UnknownNameError("fault", name, names(line))
    return read(path)


def given(path: Path, planted_in: str = series.BASELINE) -> Fault:
    """The fault in a user's patch, whose message need tell nothing of it."""
    (patch,) = series.load(str(path)).patches("")
    lines = map(_TRAILER.fullmatch, patch.message.splitlines())
    told = {found[1]: found[2].strip() for found in lines if found is not None and found[1] in _KEYS}
    return _fault(path, patch, {"History": "", "Series": planted_in, **told})


def read(path: Path) -> Fault:
    """The fault in a patch, DeclarationError if its message does not tell what it must."""
    (patch,) = series.load(str(path)).patches("")
    told = _trailers(path, patch.message)
    if "History" not in told:
        raise DeclarationError(
            path, "the message has no History: line", hint="how did this fault come about?"
        )
    return _fault(path, patch, told)


def _fault(path: Path, patch: series.Patch, told: Mapping[str, str]) -> Fault:
    mark = told.get("Mark", "")
    if mark not in ("", EQUIVALENT, SOMETIMES):
        raise DeclarationError(path, f"unknown mark {mark!r}", hint=f"known: {EQUIVALENT}, {SOMETIMES}")
    return Fault(
        name=path.stem,
        path=path,
        title=patch.subject,
        history=told["History"],
        files=patch.files,
        symptom=told.get("Symptom", ""),
        workloads=tuple(told.get("Workload", "").split()),
        config=told.get("Config", "thorough"),
        archs=tuple(told.get("Arch", "").split()),
        series=told.get("Series", series.BASELINE),
        mark=mark,
        survives=told.get("Survives", ""),
        operator=told.get("Operator", ""),
        function=told.get("Function", ""),
    )


def _trailers(path: Path, message: str) -> Mapping[str, str]:
    """The "Key: value" lines of the message's last paragraph."""
    told = {}
    for line in message.strip().rpartition("\n\n")[2].splitlines():
        found = _TRAILER.fullmatch(line)
        if found is None:
            raise DeclarationError(path, f"not a line 'Key: value': {line!r}")
        if found[1] not in _KEYS:
            raise DeclarationError(path, f"unknown key {found[1]!r}", hint=f"known: {', '.join(_KEYS)}")
        told[found[1]] = found[2].strip()
    return told
