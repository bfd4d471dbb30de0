# SPDX-License-Identifier: GPL-2.0-only
"""What some tests need beyond the rest."""

import importlib.util

import pytest

# The extra "fast", which tox installs: without it there is no compiled code to compare with the plain.
NUMBA = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba is not installed (extra: fast)"
)
