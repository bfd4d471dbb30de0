# SPDX-License-Identifier: GPL-2.0-only
"""Calls of migrate_pages() are set beside the pages that zsmalloc moved in them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from toolkit.collect.ftrace import Recording
from toolkit.collect.migrations import CALL, Migrations, migrations
from toolkit.collect.operations import marks
from toolkit.collect.trace import Trace

RECORDED = Path(__file__).parents[1] / "data" / "trace" / "6.1-x86_64"


@pytest.fixture(scope="module")
def trace() -> Trace:
    return Recording.load(RECORDED).trace()


def migrated(trace: Trace) -> Migrations:
    found = migrations(trace)
    assert found is not None
    return found


def with_field(trace: Trace, call: int, name: str, value: int) -> Trace:
    """The trace with another number in one call."""
    events = trace.events(CALL)
    field = events.format.fields[name]
    data = trace.data.copy()
    start = int(events.start[call]) + field.offset
    data[start : start + field.size] = np.frombuffer(value.to_bytes(field.size, "little"), np.uint8)
    return dataclasses.replace(trace, data=data)


def test_each_call_has_what_the_kernel_counted_and_what_zsmalloc_moved(trace: Trace) -> None:
    found = migrated(trace)
    assert found.counted.tolist() == [32, 388, 32, 171, 32, 387]
    assert found.moved.tolist() == [0, 227, 0, 0, 0, 44]
    assert found.miscounted.tolist() == []


def test_a_call_that_counts_less_than_moved_is_told(trace: Trace) -> None:
    assert migrated(with_field(trace, 1, "succeeded", 227)).miscounted.tolist() == []
    assert migrated(with_field(trace, 1, "succeeded", 226)).miscounted.tolist() == [1]


def test_soft_offlining_counts_what_it_moved_and_no_more(trace: Trace) -> None:
    offlined = with_field(trace, 5, "reason", 1)
    assert migrated(offlined).miscounted.tolist() == [5]
    assert migrated(with_field(offlined, 5, "succeeded", 44)).miscounted.tolist() == []


def test_what_was_counted_by_a_checkpoint_are_the_calls_before_its_mark(trace: Trace) -> None:
    found = migrated(trace)
    placed = marks(trace)
    assert found.before(placed["baseline"]) == {"pgmigrate_success": 0, "pgmigrate_fail": 0}
    assert found.before(placed["end"]) == {
        "pgmigrate_success": 1042,
        "pgmigrate_fail": int(found.failed.sum()),
    }


def test_a_kernel_without_the_tracepoint_says_nothing(trace: Trace) -> None:
    others = {name: format for name, format in trace.formats.items() if name != CALL}
    assert migrations(dataclasses.replace(trace, formats=others)) is None
