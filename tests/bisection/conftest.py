# SPDX-License-Identifier: GPL-2.0-only
"""The small kernel tree of tests/kernel."""

from tests.kernel.conftest import cache, plain, user_tree

__all__ = ["cache", "plain", "user_tree"]
