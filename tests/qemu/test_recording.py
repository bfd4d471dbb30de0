# SPDX-License-Identifier: GPL-2.0-only
"""Guests that are recorded, and replayed."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.deadline import Deadline
from toolkit.errors import InputError
from toolkit.rig import recording
from toolkit.rig.qemu import Setup
from toolkit.rig.recording import Recording, Schedule, Step


@pytest.mark.qemu
def test_a_recording_replays_to_the_same_console_and_stops_before_its_failure(
    setup: Setup, tmp_path: Path
) -> None:
    steps = (Step("echo fine", b"", 0), Step("cat >/tmp/input; exit 7", b"input", 0))
    made = recording.record(
        setup,
        setup.kernel,
        steps,
        tmp_path / "recording",
        title="a test",
        schedule=Schedule.perturbed(1),
        deadline=Deadline.after(300),
    )
    found = made.failure()
    assert found is not None
    assert found.what == "step 1 ended with status 7, not 0"
    (tmp_path / "replay").mkdir()
    console = recording.replay(made, tmp_path / "replay", Deadline.after(600))
    assert console == made.console.read_bytes()
    (tmp_path / "stopped").mkdir()
    (tmp_path / "moment").mkdir()
    with recording.replaying(made, tmp_path / "stopped") as running:
        instruction = recording.move_before_failure(made, running, tmp_path / "moment", 1000)
        assert running.monitor.execute("query-replay")["icount"] == instruction
        shown = (tmp_path / "stopped" / "console.log").read_text()
    assert "ended 0000 0" in shown
    assert "ended 0001" not in shown


@pytest.mark.qemu
def test_a_recording_of_another_qemu_is_refused(setup: Setup, tmp_path: Path) -> None:
    steps = (Step("true", b"", 0),)
    made = recording.record(
        setup,
        setup.kernel,
        steps,
        tmp_path / "recording",
        title="a test",
        schedule=Schedule(),
        deadline=Deadline.after(300),
    )
    assert made.failure() is None
    facts = tmp_path / "recording" / "recording.json"
    facts.write_text(facts.read_text().replace("QEMU emulator version", "QEMU emulator version 1."))
    with pytest.raises(InputError, match="another QEMU"):
        Recording(made.directory).check_qemu()
