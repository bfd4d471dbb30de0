# SPDX-License-Identifier: GPL-2.0-only
"""Machines, guest images, QEMU and what talks to a guest."""
