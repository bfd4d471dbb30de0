# SPDX-License-Identifier: GPL-2.0-only
"""The walk of the ring buffer finds what was written, and says so when it cannot."""

from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import needs
from toolkit.collect import ringbuffer
from toolkit.collect.formats import PageFormat
from toolkit.collect.ringbuffer import Walk, walk_fast, walk_plain

RECORDED = sorted((Path(__file__).parents[1] / "data" / "trace").glob("*/cpu*.pages.gz"))
PAGE = PageFormat(timestamp=0, commit=8, data=16, size=256)

WALKS = pytest.mark.parametrize("walk", [walk_plain, pytest.param(walk_fast, marks=needs.NUMBA)])
Walker = Callable[[bytes, PageFormat], Walk]


def page(time: int, *events: bytes, flags: int = 0) -> bytes:
    body = b"".join(events)
    return (struct.pack("<QQ", time, len(body) | flags) + body).ljust(PAGE.size, b"\0")


def data(delta: int, payload: bytes) -> bytes:
    assert len(payload) % 4 == 0
    if len(payload) <= 4 * 28:
        return struct.pack("<I", delta << 5 | len(payload) // 4) + payload
    return struct.pack("<II", delta << 5, len(payload) + 4) + payload


def extend(delta: int) -> bytes:
    return struct.pack("<II", (delta & (1 << 27) - 1) << 5 | 30, delta >> 27)


def stamp(time: int) -> bytes:
    return struct.pack("<II", (time & (1 << 27) - 1) << 5 | 31, time >> 27 & 0xFFFFFFFF)


def discarded(delta: int, payload: bytes) -> bytes:
    assert delta
    return struct.pack("<II", delta << 5 | 29, len(payload) + 4) + payload


FILL = struct.pack("<I", 29)


@WALKS
def test_each_event_has_its_time_and_its_data(walk: Walker) -> None:
    raw = page(
        1000,
        data(0, b"one "),
        data(5, b"two two "),
        extend(1 << 30),
        data(7, b"x" * 120),
        FILL,
    ) + page((1 << 40) + 3, data(1, b"next"))
    found = walk(raw, PAGE)
    assert found.time.tolist() == [1000, 1005, 1012 + (1 << 30), (1 << 40) + 4]
    assert [raw[s : s + n] for s, n in zip(found.start, found.length, strict=True)] == [
        b"one ",
        b"two two ",
        b"x" * 120,
        b"next",
    ]
    assert found.losses == 0


@WALKS
def test_a_discarded_event_is_skipped_with_its_time(walk: Walker) -> None:
    raw = page(1000, data(1, b"aaaa"), discarded(50, b"gone gone   "), stamp(1200), data(1, b"bbbb"))
    assert walk(raw, PAGE).time.tolist() == [1001, 1201]


@WALKS
def test_an_absolute_stamp_keeps_the_upper_bits_that_it_lacks(walk: Walker) -> None:
    before = (3 << 59) + (1 << 58)
    raw = page(before, stamp((before + 100) & (1 << 59) - 1), data(1, b"aaaa"), stamp(5), data(0, b"bbbb"))
    assert walk(raw, PAGE).time.tolist() == [before + 101, (4 << 59) + 5]


@WALKS
def test_a_page_that_follows_lost_events_is_counted(walk: Walker) -> None:
    raw = page(1, data(1, b"aaaa")) + page(9, data(1, b"bbbb"), flags=3 << 30)
    found = walk(raw, PAGE)
    assert (found.losses, found.time.tolist()) == (1, [2, 10])


@WALKS
def test_no_page_is_no_event(walk: Walker) -> None:
    found = walk(b"", PAGE)
    assert (len(found.time), len(found.start), len(found.length), found.losses) == (0, 0, 0, 0)
    assert walk(page(1), PAGE).losses == 0


@WALKS
@pytest.mark.parametrize(
    "raw",
    [
        page(1, data(0, b"fine"), struct.pack("<I", 28)),
        page(1, data(0, b"fine"), struct.pack("<II", 0, 4096)),
        page(1, data(0, b"fine"), struct.pack("<II", 0, 0)),
        struct.pack("<QQ", 1, 250).ljust(PAGE.size, b"\0"),
    ],
    ids=["short data", "long data", "no length", "commit beyond the page"],
)
def test_an_event_that_leaves_its_page_is_an_error(walk: Walker, raw: bytes) -> None:
    with pytest.raises(ValueError, match="claims"):
        walk(raw, PAGE)


@WALKS
def test_half_a_page_is_an_error(walk: Walker) -> None:
    with pytest.raises(ValueError, match="100 bytes are not whole pages of 256"):
        walk(bytes(100), PAGE)


@needs.NUMBA
@pytest.mark.parametrize("seed", range(20))
def test_the_fast_walk_equals_the_plain_one_on_anything_written(seed: int) -> None:
    chance = random.Random(seed)
    raw = b""
    now = chance.randrange(1 << 60)
    for _ in range(50):
        events: list[bytes] = []
        room = PAGE.size - PAGE.data
        while True:
            now += chance.randrange(1000)
            payload = bytes(chance.randrange(1, 256) for _ in range(4 * chance.randrange(1, 36)))
            event = chance.choice(
                [
                    data(chance.randrange(1 << 27), payload),
                    data(0, payload),
                    extend(chance.randrange(1 << 50)),
                    stamp(now & (1 << 59) - 1),
                    discarded(chance.randrange(1, 1 << 27), payload),
                ]
            )
            if len(event) > room:
                break
            room -= len(event)
            events.append(event)
        raw += page(now, *events, *([FILL] if room >= 4 else []), flags=chance.choice([0, 1 << 31]))
    plain, fast = walk_plain(raw, PAGE), walk_fast(raw, PAGE)
    assert len(plain.time) > 50
    assert_equal(plain, fast)


@needs.NUMBA
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_the_fast_walk_equals_the_plain_one_on_recorded_pages(path: Path) -> None:
    raw = gzip.decompress(path.read_bytes())
    recorded = PageFormat(timestamp=0, commit=8, data=16, size=4096)
    plain = walk_plain(raw, recorded)
    assert len(plain.time) > 100
    assert (np.diff(plain.time.astype(np.int64)) >= 0).all()
    assert_equal(plain, walk_fast(raw, recorded))


@needs.NUMBA
def test_a_large_buffer_is_walked_fast_and_a_small_one_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = page(5, data(1, b"aaaa")) * 4
    walked: list[str] = []

    def fast(data: bytes, page: PageFormat) -> Walk:
        walked.append("fast")
        return walk_plain(data, page)

    monkeypatch.setattr(ringbuffer, "walk_fast", fast)
    assert len(ringbuffer.walk(raw, PAGE).time) == 4
    assert walked == []
    monkeypatch.setattr(ringbuffer, "_WORTHWHILE", len(raw))
    assert len(ringbuffer.walk(raw, PAGE).time) == 4
    assert walked == ["fast"]


def assert_equal(plain: Walk, fast: Walk) -> None:
    assert plain.losses == fast.losses
    for name in ("time", "start", "length"):
        expected, seen = getattr(plain, name), getattr(fast, name)
        assert expected.dtype == seen.dtype
        np.testing.assert_array_equal(expected, seen)
