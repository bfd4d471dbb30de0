# SPDX-License-Identifier: GPL-2.0-only
"""What a run came to, told to people at a terminal, to a browser, and to continuous integration."""
