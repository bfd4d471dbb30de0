# SPDX-License-Identifier: GPL-2.0-only
"""The guest programs, compiled for this host with the sanitizers on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.guest_programs import Ran, build, run_program


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that holds them."""
    return build(tmp_path_factory.mktemp("programs"))


@pytest.fixture
def program(programs: Path, tmp_path: Path) -> Callable[..., Ran]:
    """Runs one, in a directory of the test's own."""

    def run(name: str, *arguments: str) -> Ran:
        return run_program(programs / name, *arguments, cwd=tmp_path)

    return run
