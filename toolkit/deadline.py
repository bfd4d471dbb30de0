# SPDX-License-Identifier: GPL-2.0-only
"""A point in time by which something must be done: pass it down, never a time-out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Deadline:
    """A point on the monotonic clock, in seconds."""

    at_s: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The point `seconds` from now."""
        return cls(time.monotonic() + seconds)

    @property
    def remaining_s(self) -> float:
        """Seconds left, 0.0 when it has passed."""
        return max(0.0, self.at_s - time.monotonic())

    @property
    def passed(self) -> bool:
        return self.remaining_s == 0.0

    def at_most(self, seconds: float) -> Deadline:
        """This deadline, or the one `seconds` from now if that is earlier."""
        return Deadline(min(self.at_s, time.monotonic() + seconds))

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """What is done meanwhile takes none of its time."""
        began_s = time.monotonic()
        try:
            yield
        finally:
            self.at_s += time.monotonic() - began_s
