# SPDX-License-Identifier: GPL-2.0-only
"""Looks into a guest's memory from outside, and checks what zsmalloc must hold true."""
