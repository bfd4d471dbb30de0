# SPDX-License-Identifier: GPL-2.0-only
"""Declarations are loaded strictly: what is not understood fails with its line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from toolkit import declare
from toolkit.errors import DeclarationError, UnknownNameError


@dataclass(frozen=True)
class Part:
    size_mib: int
    note: str = ""


@dataclass(frozen=True)
class Thing:
    name: str
    title: str
    ratio: float = 0.5
    on: bool = False
    place: Path | None = None
    words: tuple[str, ...] = ()
    parts: Mapping[str, Part] = field(default_factory=dict)
    best: Part | None = None

    def __post_init__(self) -> None:
        if self.ratio < 0:
            raise ValueError("ratio is negative")


def _load(tmp_path: Path, text: str) -> Thing:
    path = tmp_path / "some-name.toml"
    path.write_text(text, encoding="utf-8")
    return declare.load(Thing, path)


def test_every_kind_of_field_is_understood(tmp_path: Path) -> None:
    thing = _load(
        tmp_path,
        'title = "T"\nratio = 1\non = true\nplace = "../x"\nwords = ["a", "b"]\n'
        '[best]\nsize_mib = 1\n[parts."6.1"]\nsize_mib = 2\nnote = "n"\n',
    )
    assert thing == Thing(
        name="some-name",
        title="T",
        ratio=1.0,
        on=True,
        place=tmp_path / "../x",
        words=("a", "b"),
        parts={"6.1": Part(2, "n")},
        best=Part(1),
    )
    assert isinstance(thing.ratio, float)


def test_a_loaded_mapping_cannot_be_changed(tmp_path: Path) -> None:
    thing = _load(tmp_path, 'title = "T"\n[parts.a]\nsize_mib = 2\n')
    with pytest.raises(TypeError):
        thing.parts["b"] = Part(1)  # type: ignore[index]  # that is the point


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ('title = "T"\n\nwrods = []\n', 3, "unknown key 'wrods'", "did you mean 'words'?"),
        ('title = "T"\nzzz = 1\n', 2, "unknown key 'zzz'", "known keys: title, ratio, on"),
        ('name = "other"\ntitle = "T"\n', 1, "unknown key 'name'", ""),
        ("title = 1\n", 1, "expected str, not 1", ""),
        ('title = "T"\non = 1\n', 2, "expected bool, not 1", ""),
        ('title = "T"\nratio = true\n', 2, "expected float, not True", ""),
        ('title = "T"\nwords = "a"\n', 2, "expected a list, not 'a'", ""),
        ('title = "T"\nwords = ["a", 1]\n', 2, "expected str, not 1", ""),
        ('title = "T"\nplace = 1\n', 2, "expected a path, not 1", ""),
        ('title = "T"\nparts = 1\n', 2, "expected a table, not 1", ""),
        ('title = "T"\nbest = 1\n', 2, "expected a table, not 1", ""),
        ('title = "T"\n[parts.a]\nsize_mib = 1\n[parts.b]\nsize_mib = "x"\n', 5, "expected int, not 'x'", ""),
        ('title = "T"\n[parts."6.1"]\nnote = "x"\n', 2, "the key 'size_mib' is missing", ""),
        ('title = "T"\n[parts."6.1"]\nsize = 1\n', 3, "unknown key 'size'", "size_mib"),
        ('title = "T"\n[best]\nsize_mib = true\n', 3, "expected int, not True", ""),
        ("title = \n", 1, "Invalid value", ""),
        ('title = "T"\ntitle = "U"\n', 2, "Cannot overwrite a value", ""),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, text: str, line: int, message: str, hint: str
) -> None:
    with pytest.raises(DeclarationError) as caught:
        _load(tmp_path, text)
    assert caught.value.message.startswith(f"{tmp_path / 'some-name.toml'}:{line}: ")
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(("text", "message"), [("", "the key 'title' is missing")])
def test_a_missing_key_needs_no_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DeclarationError, match=message) as caught:
        _load(tmp_path, text)
    assert caught.value.line is None


def test_what_the_class_itself_refuses_is_told_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"some-name\.toml: ratio is negative"):
        _load(tmp_path, 'title = "T"\nratio = -1.0\n')


def test_a_file_that_is_absent_or_no_text_is_a_declaration_error(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="No such file"):
        declare.load(Thing, tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DeclarationError, match="not UTF-8"):
        declare.load(Thing, tmp_path / "binary.toml")


def test_a_name_is_found_or_its_near_miss_is_told(tmp_path: Path) -> None:
    for name in ("zram", "alpha"):
        (tmp_path / f"{name}.toml").touch()
    (tmp_path / "other.txt").touch()
    assert declare.names(tmp_path) == ("alpha", "zram")
    assert declare.find("thing", tmp_path, "zram") == tmp_path / "zram.toml"
    with pytest.raises(UnknownNameError, match="unknown thing 'zarm'") as caught:
        declare.find("thing", tmp_path, "zarm")
    assert caught.value.hint == "did you mean 'zram'?"


@pytest.mark.parametrize("name", ["../zram", "/etc/passwd", "", "*"])
def test_a_name_is_no_path_and_no_pattern(tmp_path: Path, name: str) -> None:
    (tmp_path / "zram.toml").touch()
    with pytest.raises(UnknownNameError):
        declare.find("thing", tmp_path, name)
