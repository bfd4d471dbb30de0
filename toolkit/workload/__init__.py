# SPDX-License-Identifier: GPL-2.0-only
"""What runs in or against a guest, and what it promises.

A workload is one file in rigs/workloads/ with one function under `@workload`;
the file's stem is its name::

    from toolkit.workload import Bench, workload

    @workload(suites=["quick"], deadline_s=60, single_threaded=True, machine="single")
    def exercise(bench: Bench) -> None:
        \"\"\"One line that says what it does.\"\"\"
        bench.guest.execute("...", deadline=bench.deadline)
        bench.checkpoint("filled")
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from toolkit.deadline import Deadline
from toolkit.rig.guest import Guest

SUITES = ("smoke", "quick", "full", "soak", "races")


class Bench(Protocol):
    """What a workload works with: one guest, one seed, one deadline."""

    @property
    def guest(self) -> Guest: ...
    @property
    def seed(self) -> int: ...
    @property
    def random(self) -> random.Random:
        """Seeded with `seed`: the only source of randomness a workload may use."""
        ...

    @property
    def deadline(self) -> Deadline: ...

    def checkpoint(self, name: str) -> None:
        """Take every capture now, and mark the moment in the trace.

        The model predicts the class table at each checkpoint, so nothing may touch
        zsmalloc while one is taken.
        """
        ...

    def drain(self) -> None:
        """Empty the trace's buffers, between two checkpoints at which there is more than they hold."""
        ...

    def check(self, name: str, holds: bool, *, expected: object, seen: object, because: str) -> None:
        """Record one check of the workload's own, e.g. that content came back intact."""
        ...

    def count(self, counter: str, amount: int) -> None:
        """Add to a counter that a floor may ask for, e.g. bytes verified."""
        ...


@dataclass(frozen=True)
class Workload:
    """A workload and what it promises.

    `floors` says how often something must have happened, else the run exercised
    nothing and is an ERROR: keys are counters of `Bench.count` or traced events
    ("zs_page_migrate").  `needs` are configuration symbols without which it cannot
    run (then it is skipped, with that reason).  `single_threaded` means that at most
    one thread calls zsmalloc at a time, so that the model is exact.  `machine` is one of
    rigs/: what one thread does needs no more than "single".  `before` is the first release,
    as (6, 12), whose code it was not made for (there it is skipped); None if it suits all.
    """

    name: str
    title: str
    suites: frozenset[str]
    deadline_s: float
    single_threaded: bool
    exercise: Callable[[Bench], None]
    floors: Mapping[str, int] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    machine: str = "default"
    before: tuple[int, int] | None = None


def workload(
    *,
    suites: Sequence[str],
    deadline_s: float,
    single_threaded: bool,
    floors: Mapping[str, int] | None = None,
    needs: Sequence[str] = (),
    machine: str = "default",
    before: tuple[int, int] | None = None,
) -> Callable[[Callable[[Bench], None]], Workload]:
    """Declare a workload; its title is the docstring's first line, its name the file's stem."""
    unknown = set(suites) - set(SUITES)
    if unknown:
        raise ValueError(f"unknown suite {sorted(unknown)[0]!r}; known: {', '.join(SUITES)}")

    def declare(exercise: Callable[[Bench], None]) -> Workload:
        title = (exercise.__doc__ or "").strip().splitlines()
        if not title:
            raise ValueError("a workload needs a docstring: its first line is its title")
        return Workload(
            name=exercise.__module__.rpartition(".")[2],
            title=title[0],
            suites=frozenset(suites),
            deadline_s=deadline_s,
            single_threaded=single_threaded,
            exercise=exercise,
            floors=MappingProxyType(dict(floors or {})),
            needs=tuple(needs),
            machine=machine,
            before=before,
        )

    return declare
