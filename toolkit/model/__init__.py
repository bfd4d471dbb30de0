# SPDX-License-Identifier: GPL-2.0-only
"""The reference model of zsmalloc and zram: pure, knows nothing of guests."""
