# SPDX-License-Identifier: GPL-2.0-only
"""What a workload may need of a kernel beside its image: where its code lies, and modules for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from toolkit import places
from toolkit.deadline import Deadline
from toolkit.kernel.symbols import Compiled, Symbols


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

    def beside(self, deadline: Deadline) -> Internals:
        """The same, but what has to be compiled takes none of that time: another run may be in its way."""

        def compiled(file: str) -> Compiled:
            with deadline.suspended():
                return self.symbols.compiled(file)

        def build_modules(sources: Path) -> Path:
            with deadline.suspended():
                return self.build_modules(sources)

        return replace(self, symbols=replace(self.symbols, compiled=compiled), build_modules=build_modules)
