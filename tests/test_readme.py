# SPDX-License-Identifier: GPL-2.0-only
"""What the README shows is what the records and the command line say."""

from __future__ import annotations

import runpy
from pathlib import Path

from toolkit import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_tables_are_those_of_the_records() -> None:
    """If not: python results/tables.py --write."""
    tables = runpy.run_path(str(ROOT / "results" / "tables.py"))
    assert tables["rendered"](README) == README


def test_it_tells_of_every_verb() -> None:
    assert [
        verb for verb in cli.cli.commands if f"`{verb}`" not in README and f"pageless {verb}" not in README
    ] == []
