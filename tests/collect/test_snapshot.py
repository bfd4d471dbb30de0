# SPDX-License-Identifier: GPL-2.0-only
"""A checkpoint's files come in one command, and survive being saved."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.collect.fake import FakeGuest
from toolkit import places
from toolkit.collect import frames, snapshot
from toolkit.collect.collector import Collector, collectors
from toolkit.deadline import Deadline
from toolkit.errors import CaptureError, StoreError

RECORDED = sorted((Path(__file__).parents[1] / "data" / "snapshot").glob("*.frames"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_every_collector_reads_its_files_in_every_recorded_snapshot(path: Path) -> None:
    taken = snapshot.parse(path.read_bytes())
    read = {collector.name: collector.read_all(taken) for collector in collectors()}
    for name in ("vmstat", "zoneinfo", "buddyinfo", "pagetypeinfo", "slabinfo", "meminfo", "zsmalloc"):
        assert read[name], name
    assert read["zram mm_stat"]
    assert sum(len(files) for files in read.values()) == len(taken)


def test_a_checkpoint_takes_one_command_that_refreshes_the_counters_first() -> None:
    guest = FakeGuest(lambda command: (0, RECORDED[0].read_bytes()))
    taken = snapshot.take(guest, Deadline.after(10))
    (command,) = guest.commands
    assert command.startswith("capture files /proc/sys/vm/stat_refresh ")
    assert "'/sys/kernel/debug/zsmalloc/*/classes'" in command
    assert taken["/proc/buddyinfo"].startswith("Node 0, zone ")
    assert 0 < taken.uptime_s < 3600


def test_a_saved_snapshot_loads_as_it_was(tmp_path: Path) -> None:
    stream = RECORDED[0].read_bytes() + b"/sys/block/zram0/bd_stat -5 7000000000\n\n"
    taken = snapshot.parse(stream)
    taken.save(tmp_path / "filled")
    assert snapshot.Snapshot.load(tmp_path / "filled") == taken
    assert (tmp_path / "filled" / "proc" / "vmstat").read_text() == taken["/proc/vmstat"]
    assert taken.unreadable == {"/sys/block/zram0/bd_stat": "EIO"}


def test_a_snapshot_that_was_never_saved_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"snapshot\.json"):
        snapshot.Snapshot.load(tmp_path)


def test_no_file_at_all_is_an_error_not_an_empty_snapshot() -> None:
    with pytest.raises(CaptureError, match="none of the files"):
        snapshot.parse(b"")


def test_a_stream_that_was_cut_short_is_an_error() -> None:
    stream = RECORDED[0].read_bytes()
    with pytest.raises(
        CaptureError, match=r"the stream ends inside /sys/kernel/debug/zsmalloc/zram0/classes"
    ):
        snapshot.parse(stream[:-10])
    with pytest.raises(ValueError, match="no frame begins at byte 0: 'garbage'"):
        frames.parse(b"garbage\n")


def test_a_missing_file_is_an_error_that_names_it() -> None:
    collector = Collector("nothing", ("/proc/nothing",), str)
    with pytest.raises(CaptureError, match="/proc/nothing: the guest has no such file"):
        collector.read({}, "/proc/nothing")


def test_capture_frames_what_it_reads_as_the_parser_expects(tmp_path: Path) -> None:
    program = tmp_path / "capture"
    source = places.declared("rigs") / "guest" / "capture.c"
    subprocess.run(["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True)
    (tmp_path / "one").write_bytes(b"a\nb\x00c")
    (tmp_path / "two").write_bytes(b"")
    (tmp_path / "three").mkdir()
    globs = [f"{tmp_path}/one", f"{tmp_path}/t*", f"{tmp_path}/absent*"]
    done = subprocess.run([program, "files", *globs], check=True, capture_output=True)
    one, three, two = frames.parse(done.stdout)
    assert (one.path, one.data, one.error) == (f"{tmp_path}/one", b"a\nb\x00c", "")
    assert (two.path, two.data, two.error) == (f"{tmp_path}/two", b"", "")
    assert (three.path, three.data, three.error) == (f"{tmp_path}/three", b"", "EISDIR")
