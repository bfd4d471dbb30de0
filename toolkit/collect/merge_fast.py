# SPDX-License-Identifier: GPL-2.0-only
"""The events of all CPUs in the order of time, by code that numba compiles.

Each CPU's own are in that order already, so that they are merged in one pass, without the
copies that sorting and gathering column by column takes.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = tuple[
    NDArray[np.uint64], NDArray[np.int32], NDArray[np.uint16], NDArray[np.int64], NDArray[np.int64]
]


def merge(
    time: NDArray[np.uint64],
    start: NDArray[np.int64],
    length: NDArray[np.int64],
    cpus: NDArray[np.int32],
    begins: NDArray[np.int64],
    data: NDArray[np.uint8],
) -> Columns | None:
    """The columns time, cpu, id, start and length of a Trace; None if a CPU's times are not in order.

    Those of `cpus[i]` are the rows begins[i] to begins[i + 1] - 1, their ids stand at `start`.
    """
    n = len(time)
    columns = (
        np.empty(n, np.uint64),
        np.empty(n, np.int32),
        np.empty(n, np.uint16),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
    )
    return columns if _compiled()(time, start, length, cpus, begins, data, *columns) else None


def _fill(
    time: NDArray[np.uint64],
    start: NDArray[np.int64],
    length: NDArray[np.int64],
    cpus: NDArray[np.int32],
    begins: NDArray[np.int64],
    data: NDArray[np.uint8],
    times: NDArray[np.uint64],
    cpu: NDArray[np.int32],
    ids: NDArray[np.uint16],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> bool:
    heads = begins[:-1].copy()
    for row in range(len(time)):
        best = -1
        for at in range(len(cpus)):
            # Of equal times the first CPU's is first.
            if heads[at] < begins[at + 1] and (best < 0 or time[heads[at]] < time[heads[best]]):
                best = at
        taken = heads[best]
        heads[best] += 1
        if heads[best] < begins[best + 1] and time[heads[best]] < time[taken]:
            return False
        times[row], cpu[row] = time[taken], cpus[best]
        starts[row], lengths[row] = start[taken], length[taken]
        ids[row] = np.uint16(data[start[taken]]) | np.uint16(data[start[taken] + 1]) << np.uint16(8)
    return True


@functools.cache
def _compiled() -> Any:
    import numba

    return numba.njit(cache=True)(_fill)
