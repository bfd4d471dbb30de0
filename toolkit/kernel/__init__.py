# SPDX-License-Identifier: GPL-2.0-only
"""Kernel trees, series, configuration and builds."""
