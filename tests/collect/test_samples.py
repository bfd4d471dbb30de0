# SPDX-License-Identifier: GPL-2.0-only
"""Samples become columns of time, and a torn row is noticed."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tests.collect.fake import FakeGuest
from toolkit import places
from toolkit.collect import samples
from toolkit.collect.samples import Sampler
from toolkit.deadline import Deadline
from toolkit.errors import CaptureError

RECORDED = Path(__file__).parents[1] / "data" / "samples" / "6.1-x86_64.txt.gz"
TEXT = gzip.decompress(RECORDED.read_bytes()).decode()


def test_counters_are_columns_by_their_names() -> None:
    taken = samples.parse(TEXT)
    assert len(taken) > 50
    # Asked for every 50 ms on a busy host: never earlier than that.
    steps = np.diff(taken.uptime_s)
    assert (steps > 0).all()
    assert 0.045 < np.median(steps) < 0.1
    assert taken.columns["nr_zspages"].max() > 200
    # zram's own count is exact; that of vmstat may be behind by 12 pages on each of two CPUs.
    used_pages = taken.columns["zram0/mem_used_total"].max() // 4096
    assert 0 <= used_pages - taken.columns["nr_zspages"].max() <= 2 * 12
    assert taken.columns["pgmigrate_success"][-1] > taken.columns["pgmigrate_success"][0]
    assert all(len(column) == len(taken) for column in taken.columns.values())


def test_a_row_that_was_being_written_is_left_out() -> None:
    assert len(samples.parse(TEXT[:-3])) == len(samples.parse(TEXT)) - 1


def test_a_row_of_another_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="sample 1 has 2 numbers, not 3"):
        samples.parse("uptime_ns /proc/vmstat:a /proc/vmstat:b\n1 2 3\n2 3\n")
    with pytest.raises(ValueError, match="a line of names was expected"):
        samples.parse("1 2 3\n")
    with pytest.raises(ValueError, match="not one sample"):
        samples.parse("uptime_ns /proc/vmstat:a\n")


def test_a_column_that_the_kernel_appended_is_ignored() -> None:
    names = " ".join(f"/sys/block/zram*/mm_stat:{n}" for n in range(10))
    taken = samples.parse(f"uptime_ns {names}\n5000000000 {' '.join(map(str, range(10)))}\n")
    assert taken.columns["zram/huge_pages_since"].tolist() == [8]
    assert len(taken.columns) == 9
    assert taken.uptime_s.tolist() == [5.0]


def test_a_sampler_is_stopped_by_its_process_and_what_it_wrote_is_kept(tmp_path: Path) -> None:
    guest = FakeGuest(lambda command: (0, b"77\n" if command.startswith("capture") else TEXT.encode()))
    sampler = Sampler.start(guest, Deadline.after(5))
    assert guest.commands == [
        "capture sample 250 /tmp/pageless.samples /proc/vmstat '/sys/block/zram*/mm_stat'"
    ]
    taken = sampler.stop(guest, Deadline.after(5), tmp_path / "samples")
    assert guest.commands[1].startswith("kill 77; ")
    assert len(samples.load(tmp_path / "samples")) == len(taken)


def test_samples_that_are_absent_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="No such file"):
        samples.load(tmp_path)
    with pytest.raises(CaptureError, match="no process id: ''"):
        Sampler.start(FakeGuest(), Deadline.after(5))


def test_the_guests_program_samples_in_the_background_until_it_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "capture"
    source = places.declared("rigs") / "guest" / "capture.c"
    subprocess.run(["gcc", "-O1", "-o", program, source], check=True)
    vmstat, out = tmp_path / "vmstat", tmp_path / "out"
    vmstat.write_text("nr_free_pages 17\nnr_zspages 3\n")
    for device, numbers in (("zram0", "  1966080  1079360 -1\n"), ("zram1", "20 40\n")):
        (tmp_path / device).write_text(numbers)
    done = subprocess.run(
        [program, "sample", "5", out, vmstat, f"{tmp_path}/zram*"], check=True, capture_output=True
    )
    try:
        until = time.monotonic() + 20
        while out.read_text().count("\n") < 4:
            assert time.monotonic() < until
            time.sleep(0.01)
    finally:
        os.kill(int(done.stdout), signal.SIGTERM)
    head, first, second, *_ = out.read_text().splitlines()
    names = head.split()
    assert names[:4] == [
        "uptime_ns",
        f"{vmstat}:nr_free_pages",
        f"{vmstat}:nr_zspages",
        f"{tmp_path}/zram*:0",
    ]
    # The sums of both devices, and nothing in the columns that neither has.
    assert first.split()[1:7] == ["17", "3", "1966100", "1079400", "-1", "0"]
    assert len(names) == len(first.split()) == 3 + 16
    assert int(second.split()[0]) - int(first.split()[0]) > 1_000_000
