# SPDX-License-Identifier: GPL-2.0-only
"""pageless: prototype kernel patches for zsmalloc on a QEMU-backed rig."""
