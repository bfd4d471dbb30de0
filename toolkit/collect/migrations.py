# SPDX-License-Identifier: GPL-2.0-only
"""What a trace says of the calls of migrate_pages(), beside the pages that drivers moved in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.collect.trace import Trace

CALL = "mm_migrate_pages"
# enum migrate_reason, include/linux/migrate_mode.h: soft offlining moves one page a call.
_MR_MEMORY_FAILURE = 1


@dataclass(frozen=True)
class Migrations:
    """The calls, n of them, in the order in which they ended.

    order: (n,) int64, the place among all events of the trace; counted and failed: (n,) int64, the pages
    that moved and those that did not, as the kernel counts them; moved: (n,) int64, the pages of drivers
    that the same thread moved since its call before, by what their migrate_page() returned; one_page:
    (n,) bool, those that soft offlining made.
    """

    order: NDArray[np.int64]
    counted: NDArray[np.int64]
    failed: NDArray[np.int64]
    moved: NDArray[np.int64]
    one_page: NDArray[np.bool_]

    @property
    def miscounted(self) -> NDArray[np.int64]:
        """The places of calls that counted less than moved, or, of one page, anything else."""
        wrong = self.counted < self.moved
        wrong |= self.one_page & (self.moved > 0) & (self.counted != self.moved)
        return np.flatnonzero(wrong)

    def before(self, order: int) -> dict[str, int]:
        """What calls had counted by that event, by the names of /proc/vmstat."""
        ended = np.searchsorted(self.order, order)
        return {
            "pgmigrate_success": int(self.counted[:ended].sum()),
            "pgmigrate_fail": int(self.failed[:ended].sum()),
        }


def migrations(trace: Trace) -> Migrations | None:
    """None if the kernel has no such tracepoint."""
    if CALL not in trace.formats:
        return None
    calls = trace.events(CALL)
    returns = [trace.events(name) for name in trace.formats if name.endswith("_page_migrate_return")]
    good = [events.column("error") == 0 for events in returns]
    nothing = np.zeros(0, np.int64)
    order = np.concatenate([nothing, *(events.order[ok] for events, ok in zip(returns, good, strict=True))])
    thread = np.concatenate([nothing, *(events.pid[ok] for events, ok in zip(returns, good, strict=True))])
    moved = np.zeros(len(calls), np.int64)
    for pid in np.unique(thread):
        ended = np.flatnonzero(calls.pid == pid)
        which = np.searchsorted(calls.order[ended], np.sort(order[thread == pid]))
        moved[ended] = np.bincount(which, minlength=len(ended))[: len(ended)]
    return Migrations(
        calls.order,
        calls.column("succeeded").astype(np.int64),
        calls.column("failed").astype(np.int64),
        moved,
        calls.column("reason") == _MR_MEMORY_FAILURE,
    )
