# SPDX-License-Identifier: GPL-2.0-only
"""Which of many steps is the first bad one, when a bad one is noticed in some runs only.  Pure.

The steps 0 to n are in order; step 0 comes before whatever is searched, and should be good.  What
is believed of each hypothesis "step k is the first bad one", together with how often a bad step is
noticed, follows from the runs by Bayes' rule; the next run goes where it is expected to teach most.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# How often a bad step is noticed: from one run in fifty to every one, all thought equally likely.
_RATES = np.array([0.02, 0.05, *np.arange(0.1, 0.96, 0.05), 0.99])
# How often a run of a good step complains in just the same way.
_FALSE_ALARM = 0.001
# What is believed beforehand of "it was bad before" and of "it is never bad".
_OUTSIDE = 0.02

# Below so many bits a run teaches nothing any more.
_LEAST_BITS = 1e-4


@dataclass
class Search:
    """What is known after some runs; `last` is n, the number of the last step."""

    last: int
    good: Counter[int] = field(default_factory=Counter)
    bad: Counter[int] = field(default_factory=Counter)
    untestable: set[int] = field(default_factory=set)

    def saw(self, step: int, bad: bool) -> None:
        """A run of a step ended well, or with the trouble that is searched."""
        (self.bad if bad else self.good)[step] += 1

    def cannot_test(self, step: int) -> None:
        self.untestable.add(step)

    def beliefs(self) -> NDArray[np.float64]:
        """(n + 2,) the probability of each first bad step: 0 for "bad before", n + 1 for "never"."""
        belief: NDArray[np.float64] = self._joint().sum(axis=1)
        return belief

    @property
    def rate(self) -> float:
        """How often a bad step is noticed, as far as known."""
        return float(self._joint().sum(axis=0) @ _RATES)

    @property
    def runs(self) -> int:
        return sum(self.good.values()) + sum(self.bad.values())

    def next(self) -> int | None:
        """The step to run next; None if no run would teach anything."""
        joint = self._joint()
        now = _bits(joint.sum(axis=1))
        best, most = None, _LEAST_BITS
        for step in range(self.last, -1, -1):
            if step in self.untestable:
                continue
            notice = self._notice(step)
            after = 0.0
            for likelihood in (notice, 1 - notice):
                part = joint * likelihood
                total = float(part.sum())
                if total > 0:
                    after += total * _bits(part.sum(axis=1) / total)
            if now - after > most:
                best, most = step, now - after
        return best

    def _notice(self, step: int) -> NDArray[np.float64]:
        """(hypotheses, rates) the probability that a run of `step` complains."""
        is_bad = np.arange(self.last + 2)[:, None] <= step
        return np.where(is_bad, _RATES[None, :], _FALSE_ALARM)

    def _joint(self) -> NDArray[np.float64]:
        """(hypotheses, rates) what is believed of both together."""
        prior = np.full(self.last + 2, 1.0 / max(1, self.last))
        prior[[0, -1]] = _OUTSIDE
        logarithm = np.repeat(np.log(prior)[:, None], len(_RATES), axis=1)
        for step in self.good.keys() | self.bad.keys():
            notice = self._notice(step)
            logarithm += self.bad[step] * np.log(notice) + self.good[step] * np.log1p(-notice)
        joint = np.exp(logarithm - logarithm.max())
        normal: NDArray[np.float64] = joint / joint.sum()
        return normal


def _bits(probabilities: NDArray[np.float64]) -> float:
    """The entropy of a distribution."""
    some = probabilities[probabilities > 0]
    return float(-(some * np.log2(some)).sum())
