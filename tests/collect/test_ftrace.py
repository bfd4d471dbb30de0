# SPDX-License-Identifier: GPL-2.0-only
"""A recording is complete, or says what it lost; a kernel that cannot be traced is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.collect.fake import Answer, FakeGuest
from toolkit.collect import ftrace
from toolkit.collect.ftrace import PROBES, Losses, Recorder, Recording
from toolkit.deadline import Deadline
from toolkit.errors import CaptureError, CommandError, GuestError, PagelessError

RECORDED = Path(__file__).parents[1] / "data" / "trace" / "6.1-x86_64"

FACTS = f"MemTotal:  500244 kB\n{ftrace.TRACEFS}/per_cpu/cpu0\n{ftrace.TRACEFS}/per_cpu/cpu1\n"


def frame(path: str, data: bytes) -> bytes:
    return f"{path} {len(data)} 7000000000\n".encode() + data + b"\n"


def guest_without(*absent: str) -> FakeGuest:
    recording = Recording.load(RECORDED)

    def answer(command: str) -> Answer:
        if command.startswith("cat /proc/meminfo"):
            return 0, FACTS.encode()
        if "kprobe_events" in command and "capture" not in command:
            return 0, "".join(f"{event}\n" for event in absent).encode()
        sent = []
        if "capture files" in command:
            sent += [frame(path, text.encode()) for path, text in recording.files.items()]
        if "capture pages" in command:
            sent += [
                frame(f"{ftrace.TRACEFS}/per_cpu/cpu{cpu}/trace_pipe_raw", data[at : at + 4096])
                for cpu, data in recording.buffers.items()
                for at in range(0, len(data), 4096)
            ]
        return 0, b"".join(sent)

    return FakeGuest(answer)


def test_a_recorder_sets_up_marks_drains_and_leaves_what_can_be_decoded(tmp_path: Path) -> None:
    guest = guest_without("migrate/mm_migrate_pages")
    deadline = Deadline.after(60)
    recorder = Recorder(tmp_path / "trace")
    recorder.start(guest, deadline)
    setup = guest.commands[1]
    # 500244 KiB / 16 / 2 CPUs
    assert "echo 15632 >buffer_size_kb" in setup
    assert setup.index("tracing_on") < setup.index("kprobe_events") < setup.rindex("echo 1 >tracing_on")
    assert "for event in compaction/mm_compaction_begin " in setup

    recording = recorder.stop(guest, deadline)
    assert guest.commands[-1].startswith("echo 0 >/sys/kernel/tracing/tracing_on && capture pages ")
    assert recording == Recording.load(tmp_path / "trace")
    assert recording.absent == ("migrate/mm_migrate_pages",)
    assert recording.trace().counts == Recording.load(RECORDED).trace().counts


def test_what_was_drained_before_the_end_is_part_of_the_recording(tmp_path: Path) -> None:
    guest = guest_without()
    recorder = Recorder(tmp_path)
    recorder.start(guest, Deadline.after(60))
    taken = recorder.checkpoint(guest, "filled", Deadline.after(60))
    assert dict(taken) == dict(Recording.load(RECORDED).files), "the pages of the trace are no files of it"
    assert guest.stdin[-1] == b"pageless:mark filled"
    recording = recorder.stop(guest, Deadline.after(60))
    assert recording.buffers == {cpu: 2 * data for cpu, data in Recording.load(RECORDED).buffers.items()}


def test_a_trace_that_takes_no_mark_is_full_and_another_failure_is_told_as_it_is(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)

    def refused(status: int) -> PagelessError:
        guest = FakeGuest(lambda _: (status, b""))
        with pytest.raises(PagelessError) as caught:
            recorder.checkpoint(guest, "filled", Deadline.after(60))
        return caught.value

    assert "buffers are full" in refused(75).message
    assert isinstance(refused(1), CommandError)


def test_a_function_that_was_inlined_is_absent_and_one_that_is_needed_is_an_error(tmp_path: Path) -> None:
    guest = guest_without("async_free_zspage")
    recorder = Recorder(tmp_path)
    recorder.start(guest, Deadline.after(60))
    assert recorder.stop(guest, Deadline.after(60)).absent == ("async_free_zspage",)
    with pytest.raises(GuestError, match=r"no probe for zs_free, zs_compact$") as caught:
        Recorder(tmp_path).start(
            guest_without("zs_page_putback", "zs_free", "zs_compact"), Deadline.after(60)
        )
    assert "KPROBE_EVENTS=y" in caught.value.hint


def test_probes_are_what_the_kernel_was_told_in_the_recording() -> None:
    definitions = {probe.event: probe.definition for probe in PROBES}
    assert definitions["zs_malloc"] == "p:pageless/zs_malloc zs_malloc pool=$arg1:x64 size=$arg2:u64"
    assert definitions["zs_compact_return"] == "r128:pageless/zs_compact_return zs_compact pages=$retval:u64"
    assert definitions["async_free_zspage"] == "p:pageless/async_free_zspage async_free_zspage"
    formats = Recording.load(RECORDED.parents[1] / "steps" / RECORDED.name).trace().formats
    # 6.1 inlines __zs_compact(), and does not recompress; nothing else was movable there.
    others = {name for name in definitions if name.startswith(("z3fold_", "balloon_"))}
    assert set(definitions) - {"zs_compact_class", "recompress_store"} - others <= set(formats)


def test_nothing_lost_is_no_loss() -> None:
    recording = Recording.load(RECORDED)
    losses = recording.losses(recording.trace())
    assert not losses
    assert str(losses) == "none"


@pytest.mark.parametrize(
    ("file", "before", "after", "said"),
    [
        ("per_cpu/cpu0/stats", "overrun: 0\ncommit", "overrun: 7\ncommit", "7 overrun"),
        ("per_cpu/cpu1/stats", "dropped events: 0", "dropped events: 3", "3 dropped"),
        ("per_cpu/cpu1/stats", "commit overrun: 0", "commit overrun: 2", "2 commit overrun"),
        ("kprobe_profile", "480               0", "480               5", "5 missed by zs_malloc"),
    ],
)
def test_whatever_is_lost_is_counted(tmp_path: Path, file: str, before: str, after: str, said: str) -> None:
    directory = tmp_path / "trace"
    shutil.copytree(RECORDED, directory)
    path = directory / "files" / "sys" / "kernel" / "tracing" / file
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    recording = Recording.load(directory)
    losses = recording.losses(recording.trace())
    assert losses
    assert str(losses) == said


def test_a_gap_that_a_page_reports_is_a_loss() -> None:
    assert str(Losses(gaps=2)) == "2 gaps"
    assert Losses(gaps=1)


def test_a_recording_without_its_statistics_is_an_error() -> None:
    recording = Recording.load(RECORDED)
    files = {path: text for path, text in recording.files.items() if not path.endswith("/stats")}
    torn = Recording(recording.buffers, type(recording.files)(files, 0.0, {}), ())
    with pytest.raises(CaptureError, match="nobody knows what was lost"):
        torn.losses(recording.trace())
    with pytest.raises(CaptureError, match="'overrun' is missing"):
        ftrace.parse_stats("entries: 1\n")
    with pytest.raises(CaptureError, match="no rows of a probe"):
        ftrace.parse_missed("")


def test_buffers_take_a_sixteenth_of_the_memory_within_bounds() -> None:
    assert ftrace.buffer_kib_per_cpu(512 << 10, 2) == 16 << 10
    assert ftrace.buffer_kib_per_cpu(64 << 20, 2) == 64 << 10
    assert ftrace.buffer_kib_per_cpu(16 << 10, 8) == 1 << 10
