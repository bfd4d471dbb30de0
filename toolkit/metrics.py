# SPDX-License-Identifier: GPL-2.0-only
"""The numbers of a cell: what its kernel counted while the workload ran, by name.

`vmstat/NAME` is a counter's change from the baseline to the end; `trace/EVENT` how often a traced
event came; `mm_stat/CHECKPOINT/DEVICE/COLUMN` what zram accounted at a checkpoint; and
`workload/NAME` what the workload counted itself.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from toolkit.collect import vmstat, zram
from toolkit.evidence import BASELINE, END, Ending
from toolkit.judge import Case


def measure(case: Case) -> Mapping[str, int]:
    """The metrics of a cell that came to its end; none of one that did not."""
    return dict(sorted(_measure(case))) if case.facts.ending is Ending.FINISHED else {}


def _measure(case: Case) -> Iterator[tuple[str, int]]:
    before, after = (
        vmstat.COLLECTOR.read(case.snapshots[checkpoint], vmstat.PATH) for checkpoint in (BASELINE, END)
    )
    for name in before.keys() & after.keys():
        yield f"vmstat/{name}", after[name] - before[name]
    for event, count in case.traced.counts.items():
        yield f"trace/{event}", count
    for counter, count in case.facts.counters.items():
        yield f"workload/{counter}", count
    for checkpoint, files in case.snapshots.items():
        for path, stat in zram.MM_STAT.read_all(files).items():
            for column, value in dataclasses.asdict(stat).items():
                yield f"mm_stat/{checkpoint}/{zram.device_of(path)}/{column}", value


# So many times the noise.  With once it, and two repeats, a patch that changes nothing that runs
# moved 5 metrics on a busy host; with three times, none.
_BEYOND = 3


@dataclass(frozen=True)
class Moved:
    """A metric that is another one from a step on: its medians before and after.

    `noise` is the most by which repeats of one and the same step differed.
    """

    metric: str
    before: float
    after: float
    noise: float

    def __str__(self) -> str:
        shift = f"{self.after - self.before:+g}"
        return f"{self.metric} {self.before:g} -> {self.after:g} ({shift}, noise {self.noise:g})"

    @property
    def ratio(self) -> float:
        """How far beyond the noise it moved."""
        shift = abs(self.after - self.before)
        return shift / self.noise if self.noise else float("inf")


def moved(steps: Sequence[Sequence[Mapping[str, int]]]) -> tuple[tuple[Moved, ...] | None, ...]:
    """For each step after the first, the metrics that moved there, the clearest first.

    `steps` holds the metrics of each step's repeats.  A metric moved if the repeats of the two
    steps do not overlap, and their medians differ by more than three times what any step's
    repeats differ by among themselves.  None where there are fewer than two repeats on either
    side: nobody knows the noise.
    """
    noise: dict[str, int] = {}
    for repeats in steps:
        for metric in _common(repeats):
            values = [one[metric] for one in repeats]
            noise[metric] = max(noise.get(metric, 0), max(values) - min(values))
    found: list[tuple[Moved, ...] | None] = []
    for before, after in itertools.pairwise(steps):
        if min(len(before), len(after)) < 2:
            found.append(None)
            continue
        here = []
        for metric in _common((*before, *after)):
            old, new = [one[metric] for one in before], [one[metric] for one in after]
            change = Moved(metric, statistics.median(old), statistics.median(new), noise[metric])
            apart = max(old) < min(new) or max(new) < min(old)
            if apart and abs(change.after - change.before) > _BEYOND * change.noise:
                here.append(change)
        found.append(tuple(sorted(here, key=lambda one: (-one.ratio, one.metric))))
    return tuple(found)


def _common(repeats: Sequence[Mapping[str, int]]) -> tuple[str, ...]:
    """The metrics that all of them have."""
    return tuple(sorted(set.intersection(*map(set, repeats)))) if repeats else ()
