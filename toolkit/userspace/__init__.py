# SPDX-License-Identifier: GPL-2.0-only
"""The tree's own mm/zsmalloc.c, compiled and driven in user space."""
