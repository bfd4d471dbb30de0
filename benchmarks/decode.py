# SPDX-License-Identifier: GPL-2.0-only
"""How many events a second a recorded trace is decoded at.  Prints a table; judges nothing.

python benchmarks/decode.py DIRECTORY [--events N]

DIRECTORY is a cell's trace/, or any other that a Recorder left: its pages are repeated, one time
after the other.  Of CPU time, for one thread does it all: a busy machine has little effect.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from toolkit.collect import formats, ringbuffer
from toolkit.collect.ftrace import TRACEFS, Recording
from toolkit.collect.operations import traced

# Both architectures' guests have buffers of such pages.
PAGE = 4096


def seconds(work: Callable[[], object]) -> float:
    """The best of three: memory that is touched for the first time costs more than all else."""
    taken = []
    for _ in range(3):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def again(data: bytes, times: int, span: int) -> bytes:
    """Pages of one CPU, `times` over: each copy begins `span` after the one before."""
    pages = np.tile(np.frombuffer(data, np.uint8).reshape(-1, PAGE), (times, 1))
    stamps = pages[:, :8].copy().view("<u8")[:, 0]
    stamps += np.repeat(np.arange(times, dtype=np.uint64) * np.uint64(span), len(data) // PAGE)
    pages[:, :8] = stamps[:, None].view(np.uint8)
    return pages.tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast a recorded trace is decoded.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--events", type=int, default=5_000_000)
    options = parser.parse_args()
    recording = Recording.load(options.directory)
    once = recording.trace()
    times = -(-options.events // len(once))
    span = int(once.time[-1] - once.time[0]) + 1
    buffers = {cpu: again(data, times, span) for cpu, data in recording.buffers.items()}
    repeated = dataclasses.replace(recording, buffers=buffers)
    page = formats.parse_page(recording.files[f"{TRACEFS}/events/header_page"])
    whole = b"".join(buffers.values())
    # The first call compiles.
    events = len(ringbuffer.walk(whole, page).start)
    walked = seconds(lambda: ringbuffer.walk(whole, page))
    decoded = seconds(repeated.trace)
    once_more = seconds(lambda: traced(once))
    print(f"{events} events, {len(whole) >> 20} MiB")
    print(f"pages walked            {events / walked / 1e6:8.2f} M events/s")
    print(f"decoded, by time        {events / decoded / 1e6:8.2f} M events/s")
    print(f"operations and steps    {len(once) / once_more / 1e6:8.2f} M events/s, of one copy")


if __name__ == "__main__":
    main()
