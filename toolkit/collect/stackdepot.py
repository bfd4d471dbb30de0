# SPDX-License-Identifier: GPL-2.0-only
"""The stack depot: where KASAN and page_owner keep each call stack that they record, for ever.

It grows as long as the kernel comes to code in ways that are new to it, by pages that no
counter tells of (lib/stackdepot.c).
"""

from __future__ import annotations

import re

from toolkit.kernel.symbols import Symbols
from toolkit.rig.qemu_guest import QemuGuest

# How many pools there are, by its name since 6.3 and before; each is of order 2 (DEPOT_POOL_ORDER).
_POOLS = ("pools_num", "depot_index")
_POOL_PAGES = 4
# More than the kernel ever has: what is read is something else, as if its addresses were random.
_AT_MOST = 1 << 17


def pages(guest: QemuGuest, symbols: Symbols) -> int | None:
    """How many pages it has, but for one pool more or less; None if it has none or that cannot be read."""
    addresses = (symbols.variable(name) for name in _POOLS)
    address = next((address for address in addresses if address is not None), None)
    if address is None:
        return None
    found = re.fullmatch(r"[0-9a-f]+:\s+(\d+)\s*", guest.qmp.human(f"x /1wd {address:#x}"))
    pools = int(found[1]) if found is not None else _AT_MOST
    return pools * _POOL_PAGES if pools < _AT_MOST else None
