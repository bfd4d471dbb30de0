# SPDX-License-Identifier: GPL-2.0-only
"""What is decoded from the ring buffers is what the same kernel printed as text."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from tests import needs
from tests.collect.printed import compare
from toolkit.collect import formats, merge_fast
from toolkit.collect import trace as trace_module
from toolkit.collect.ftrace import Recording
from toolkit.collect.trace import Trace, decode

RECORDED = sorted((Path(__file__).parents[1] / "data" / "trace").iterdir())
EACH = pytest.mark.parametrize("directory", RECORDED, ids=lambda path: path.name)


@EACH
def test_every_printed_event_is_decoded_with_its_time_cpu_thread_and_values(directory: Path) -> None:
    text = gzip.decompress((directory / "trace.txt.gz").read_bytes()).decode()
    assert compare(Recording.load(directory).trace(), text) > 1000


@EACH
def test_marks_and_names_are_texts(directory: Path) -> None:
    trace = Recording.load(directory).trace()
    assert trace.events("print").texts("buf")[0] == "pageless:mark baseline\n"
    assert trace.events("zs_create_pool").texts("name") == ("zram0",)


@EACH
def test_the_events_of_all_cpus_are_in_the_order_of_time(directory: Path) -> None:
    recording = Recording.load(directory)
    trace = recording.trace()
    assert len(set(trace.cpu.tolist())) == len(recording.buffers) == 2
    assert (np.diff(trace.time.astype(np.int64)) >= 0).all()


def test_events_at_the_same_time_keep_the_order_of_their_buffer() -> None:
    directory = RECORDED[0]
    recording = Recording.load(directory)
    trace = recording.trace()
    ticks = Trace(**{**vars(trace), "time": np.zeros(len(trace), np.uint64)})
    assert len(ticks.events("zs_malloc")) == trace.counts["zs_malloc"]
    for cpu, raw in recording.buffers.items():
        alone = decode({cpu: raw}, PAGE, trace.formats)
        together = trace.start[trace.cpu == cpu]
        np.testing.assert_array_equal(np.diff(alone.start), np.diff(together))


PAGE = formats.PageFormat(timestamp=0, commit=8, data=16, size=4096)


def test_an_event_without_a_format_is_an_error() -> None:
    recording = Recording.load(RECORDED[0])
    known = {"print": recording.trace().formats["print"]}
    with pytest.raises(ValueError, match=r"an event of id \d+ has no format"):
        decode(recording.buffers, PAGE, known)


def test_asking_for_what_is_not_there_is_an_error() -> None:
    trace = Recording.load(RECORDED[0]).trace()
    with pytest.raises(ValueError, match="no format for 'zs_nothing', only for async_free_zspage, "):
        trace.events("zs_nothing")
    with pytest.raises(ValueError, match="zs_malloc has no field 'bytes'"):
        trace.events("zs_malloc").column("bytes")
    with pytest.raises(ValueError, match="zs_create_pool: name is no number"):
        trace.events("zs_create_pool").column("name")


def test_no_buffer_decodes_to_no_event() -> None:
    formats_of = Recording.load(RECORDED[0]).trace().formats
    empty = decode({}, PAGE, formats_of)
    assert len(empty) == 0
    assert empty.counts["zs_malloc"] == 0
    assert empty.events("zs_malloc").numbers("size").tolist() == []


@needs.NUMBA
@EACH
def test_a_large_trace_is_merged_by_compiled_code_and_is_the_same(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = Recording.load(directory)
    plain = recording.trace()
    monkeypatch.setattr(trace_module, "_WORTHWHILE", 0)
    fast = recording.trace()
    for name in ("time", "cpu", "id", "start", "length"):
        expected, seen = getattr(plain, name), getattr(fast, name)
        assert expected.dtype == seen.dtype
        assert np.array_equal(expected, seen)


@needs.NUMBA
def test_events_that_went_back_in_time_are_not_merged() -> None:
    times, rows = np.array([5, 4], np.uint64), np.array([0, 4], np.int64)
    data = np.zeros(8, np.uint8)
    assert merge_fast.merge(times, rows, rows, np.zeros(1, np.int32), np.array([0, 2]), data) is None
