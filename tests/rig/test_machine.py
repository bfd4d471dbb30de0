# SPDX-License-Identifier: GPL-2.0-only
"""The machines that are declared."""

from __future__ import annotations

import pytest

from toolkit.errors import UnknownNameError
from toolkit.rig import machine


@pytest.mark.parametrize("name", machine.names())
def test_every_declared_machine_loads_and_says_what_it_is_for(name: str) -> None:
    made = machine.load(name)
    assert made.name == name
    assert made.title
    assert made.cpus >= 1
    assert made.memory_mib >= 64


def test_there_is_a_default_machine() -> None:
    assert "default" in machine.names()


def test_an_unknown_machine_names_the_near_one() -> None:
    with pytest.raises(UnknownNameError, match="unknown machine 'defalt'") as caught:
        machine.load("defalt")
    assert caught.value.hint == "did you mean 'default'?"
