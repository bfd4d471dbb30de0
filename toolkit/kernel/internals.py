# SPDX-License-Identifier: GPL-2.0-only
"""What a workload may need of a kernel beside its image: where its code lies, and modules for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from toolkit import places
from toolkit.kernel.symbols import Symbols


@dataclass(frozen=True)
class Internals:
    """Of one kernel; `build_module` gives a module from the directory of its sources.

    `variant` is the way of being pageless that its series declares, "" if none.
    """

    symbols: Symbols
    build_module: Callable[[Path], Path]
    variant: str = ""

    def module(self) -> Path:
        """The module of rigs/guest/module/, built for this kernel."""
        return self.build_module(places.declared("rigs") / "guest" / "module")
