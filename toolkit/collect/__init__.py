# SPDX-License-Identifier: GPL-2.0-only
"""What is read from a guest: for each kind of file a capture and a pure parser.

A Collector that a module here declares is one by being there: its files are taken at every
checkpoint (toolkit.collect.snapshot).  `samples` and `ftrace` watch a whole run.
"""
