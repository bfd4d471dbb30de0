# SPDX-License-Identifier: GPL-2.0-only
"""The compiled replay equals the plain one on everything."""

from __future__ import annotations

import random

import pytest

from toolkit.errors import TraceError
from toolkit.model.geometry import Geometry, geometry
from toolkit.model.operations import Operations, Recorder
from toolkit.model.replay import replay

pytest.importorskip("numba", reason="the extra `fast` is not installed")

from toolkit.model.replay_fast import replay_fast  # needs numba

GEOMETRIES = [
    geometry(release, page_size) for release in ("6.1", "6.12") for page_size in (4096, 16384, 65536)
]


def several_pools(made: Geometry, seed: int, steps: int) -> Operations:
    """Pools that come, fill, drain, are compacted and go, at addresses and with handles used again."""
    chance = random.Random(seed)
    trace = Recorder()
    live: dict[int, list[int]] = {}
    sizes = [chance.randint(1, made.page_size) for _ in range(8)]
    spare = list(range(1, 100_000))
    for step in range(steps):
        draw = chance.random()
        if not live or (draw < 0.002 and len(live) < 4):
            pool = chance.choice([p for p in range(8) if p not in live])
            live[pool] = []
            trace.create(pool)
        pool = chance.choice(list(live))
        objects = live[pool]
        if draw > 0.999:
            # Now and then with objects in it.
            while objects and draw < 0.9997:
                trace.free(objects.pop(), pool=pool)
            del live[pool]
            trace.destroy(pool)
        elif draw > 0.98:
            trace.compact(pool)
        elif draw > 0.97:
            trace.mark(f"at {step}")
        elif objects and chance.random() < (0.35 if step // 300 % 2 else 0.6):
            handle = objects.pop(chance.randrange(len(objects)))
            spare.append(handle)
            trace.free(handle, pool=pool)
        else:
            handle = spare.pop()
            objects.append(handle)
            trace.malloc(chance.choice(sizes), handle, pool=pool)
    trace.mark("end")
    return trace.operations()


@pytest.mark.parametrize("made", GEOMETRIES, ids=lambda g: f"{g.rules.value}-{g.page_size}")
def test_both_say_the_same_of_random_traces(made: Geometry) -> None:
    compacted = 0
    for seed in range(4):
        operations = several_pools(made, seed, 6000)
        plain = replay(operations, made)
        assert replay_fast(operations, made) == plain
        compacted += sum(pool.pages_compacted for shot in plain.snapshots for pool in shot.pools)
    assert compacted > 1000


def test_a_trace_without_operations_has_no_snapshots() -> None:
    assert replay_fast(Recorder().operations(), GEOMETRIES[0]).snapshots == ()


@pytest.mark.parametrize("fault", ["free twice", "handle in use", "no pool", "too large", "two pools"])
def test_what_cannot_have_happened_is_told_in_the_same_words(fault: str) -> None:
    trace = Recorder()
    trace.create(1)
    trace.malloc(100, 5, pool=1)
    if fault == "free twice":
        trace.free(5, pool=1)
        trace.free(5, pool=1)
    elif fault == "handle in use":
        trace.malloc(100, 5, pool=1)
    elif fault == "no pool":
        trace.compact(2)
    elif fault == "too large":
        trace.malloc(70_000, 6, pool=1)
    else:
        trace.create(1)
    with pytest.raises(TraceError) as plain:
        replay(trace.operations(), GEOMETRIES[0])
    with pytest.raises(TraceError) as fast:
        replay_fast(trace.operations(), GEOMETRIES[0])
    assert fast.value.message == plain.value.message
