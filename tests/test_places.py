# SPDX-License-Identifier: GPL-2.0-only
"""The directories follow the XDG base directory specification."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from toolkit import places


@pytest.mark.parametrize(
    ("variable", "place"),
    [("XDG_CACHE_HOME", places.cache_dir), ("XDG_STATE_HOME", places.state_dir)],
)
def test_xdg_variables_are_honoured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, place: Callable[[], Path]
) -> None:
    monkeypatch.setenv(variable, str(tmp_path))
    assert place() == tmp_path / "pageless"


@pytest.mark.parametrize("value", ["", "relative/path"])
def test_an_empty_or_relative_xdg_variable_is_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    monkeypatch.setenv("XDG_STATE_HOME", value)
    assert places.cache_dir() == tmp_path / ".cache/pageless"
    assert places.state_dir() == tmp_path / ".local/state/pageless"


@pytest.mark.parametrize("kind", ["rigs", "configs"])
def test_a_checkouts_declarations_are_preferred(kind: str) -> None:
    assert places.declared(kind) == Path(__file__).resolve().parents[1] / kind
