# SPDX-License-Identifier: GPL-2.0-only
"""The files for continuous integration are YAML, and call commands and options that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from toolkit import cli, places

yaml: Any = pytest.importorskip("yaml")
FILES = sorted((places.declared("configs") / "ci").glob("*.yml"))


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in _strings(one)]
    if isinstance(value, list):
        return [text for one in value for text in _strings(one)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_command_of_ours_in_it_is_one(path: Path) -> None:
    calls = [
        shlex.split(re.sub(r"\$\{\{.*?\}\}", "x", text.partition(">")[0]))[1:]
        for text in _strings(yaml.safe_load(path.read_text(encoding="utf-8")))
        if re.match(r"\S*/pageless (?!\.git)", text)
    ]
    assert {words[0] for words in calls} == {"doctor", "run", "report"}
    for verb, *words in calls:
        command = cli.cli.commands[verb]
        with click.Context(command, info_name=verb) as context:
            command.make_parser(context).parse_args(list(words))


def test_there_is_one_for_each_forge() -> None:
    assert [path.stem for path in FILES] == ["github", "gitlab"]
