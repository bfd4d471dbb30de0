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
    """Of one kernel; `build_modules` gives a directory of modules from that of their sources.

    `variant` is the way of being pageless that its series declares, "" if none.
    """

    symbols: Symbols
    build_modules: Callable[[Path], Path]
    variant: str = ""

    def modules(self) -> Path:
        """The directory with those of rigs/guest/modules/, built for this kernel."""
        return self.build_modules(places.declared("rigs") / "guest" / "modules")
