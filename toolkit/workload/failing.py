# SPDX-License-Identifier: GPL-2.0-only
"""Allocations that fail on request, in tasks that ask for it (Documentation/fault-injection)."""

from __future__ import annotations

from toolkit.rig.guest import Guest

# What a kernel needs for it.
NEEDS = ("FAULT_INJECTION_DEBUG_FS", "FAILSLAB", "FAIL_PAGE_ALLOC")
_PAGES, _SLABS = "/sys/kernel/debug/fail_page_alloc", "/sys/kernel/debug/failslab"


def prepare(guest: Guest) -> None:
    """Have nothing fail yet, and later whatever is allocated in a task that wants it, any number of times."""
    for directory in (_PAGES, _SLABS):
        _set(guest, directory, verbose=0, probability=0, interval=1, times=-1, space=0)
        guest.write(f"{directory}/task-filter", "Y")
        guest.write(f"{directory}/ignore-gfp-wait", "N")
    guest.write(f"{_PAGES}/ignore-gfp-highmem", "N")
    guest.write(f"{_PAGES}/min-order", "0")


def only_marked_caches(guest: Guest) -> None:
    """Of slabs only those that a machine marks: zsmalloc's own, where a handle or a zspage is allocated."""
    guest.write(f"{_SLABS}/cache-filter", "Y")


def only_large_pages(guest: Guest, order: int) -> None:
    """Of pages only blocks of that order or larger."""
    guest.write(f"{_PAGES}/min-order", str(order))


def let_fail(guest: Guest, *, pages_percent: int = 0, slabs_percent: int = 0) -> None:
    """So many of 100 allocations, by lot."""
    _set(guest, _PAGES, probability=pages_percent)
    _set(guest, _SLABS, probability=slabs_percent)


def _set(guest: Guest, directory: str, **values: int) -> None:
    for name, value in values.items():
        guest.write(f"{directory}/{name}", str(value))
