# SPDX-License-Identifier: GPL-2.0-only
"""The command line as a user meets it: messages, statuses, no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from toolkit import cli

VERBS = [
    "alarms",
    "apply",
    "b4-check",
    "bisect",
    "bisect-step",
    "boot",
    "build",
    "census",
    "compare",
    "count",
    "doctor",
    "draw",
    "fetch",
    "history",
    "inspect",
    "judge",
    "list",
    "model",
    "mutate",
    "patchcheck",
    "plan",
    "replay",
    "report",
    "resume",
    "run",
    "sequences",
    "series",
    "sim",
    "test",
    "watch",
]


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("ARCH", raising=False)


def pageless(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user would, without a terminal."""
    return subprocess.run(
        [sys.executable, "-c", "from toolkit.cli import main; main()", *argv],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run_with([verb, "--help"]) == 0
    said = capsys.readouterr().out
    assert "Example:" in said
    assert f"pageless {verb}" in said


def test_every_verb_is_tried_here() -> None:
    assert sorted(cli.cli.commands) == VERBS


@pytest.mark.parametrize(
    ("argv", "says", "hint"),
    [
        (["run", "--kernel", "6.l"], "unknown kernel '6.l'", "did you mean '6.1'?"),
        (
            ["run", "--series", "pageless-ownr", "--kernel", "6.1"],
            "unknown series 'pageless-ownr'",
            "did you mean",
        ),
        (["run", "--arch", "arm46"], "unknown architecture 'arm46'", "did you mean 'arm64'?"),
        (["run", "--workload", "quik"], "unknown workload or suite 'quik'", "did you mean 'quick'?"),
        (["build", "--config", "debgu"], "debgu", "did you mean"),
        (
            ["boot", "--rig", "defalt", "--exec", "true"],
            "unknown machine 'defalt'",
            "did you mean 'default'?",
        ),
        (["mutate", "free-panic"], "unknown fault 'free-panic'", "did you mean 'free-panics'?"),
        (["inspect", "20990101"], "unknown run '20990101'", "known: none"),
        (["judge", "20990101"], "unknown run '20990101'", "known: none"),
        (["model", "classes", "--page-size", "4097"], "no page size of 4097 bytes", "4096"),
    ],
)
def test_an_unknown_name_is_refused_at_once_with_the_near_miss(argv: list[str], says: str, hint: str) -> None:
    done = pageless(*argv)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_unknown_verb_or_option_is_a_usage_error() -> None:
    assert pageless("rnu").returncode == 2
    assert pageless("run", "--sede", "1").returncode == 2


def test_the_environments_arch_must_be_one_of_the_rigs() -> None:
    done = pageless("run", ARCH="sparc")
    assert done.returncode == 2
    assert "ARCH=sparc is not an architecture of this rig" in done.stderr


def test_an_interactive_shell_without_a_terminal_is_refused() -> None:
    done = pageless("boot")
    assert done.returncode == 2
    assert "--exec" in done.stderr


def test_a_bug_of_ours_is_one_message_and_a_traceback_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(_what: str) -> list[dict[str, object]]:
        raise RuntimeError("boom")

    monkeypatch.setattr(cli, "_listed", broken)
    assert cli.run_with(["list", "archs"]) == 125
    said = capsys.readouterr().err
    assert "this is a bug of pageless: RuntimeError: boom" in said
    assert "Traceback" not in said
    assert "RuntimeError: boom" in (tmp_path / "state" / "pageless" / "traceback.txt").read_text()


def test_a_full_disk_is_the_hosts_trouble_and_says_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_what: str) -> list[dict[str, object]]:
        raise OSError(28, "No space left on device", "/var/cache/x")

    monkeypatch.setattr(cli, "_listed", full)
    assert cli.run_with(["list", "archs"]) == 125
    said = capsys.readouterr().err
    assert "/var/cache/x: No space left on device" in said
    assert "free some space" in said


def test_lists_are_json_where_asked() -> None:
    rows = json.loads(pageless("list", "archs", "--json").stdout)
    assert {row["name"] for row in rows} == {path.stem for path in Path("rigs/arch").glob("*.toml")}


def test_the_model_prints_the_classes_of_a_release() -> None:
    rows = json.loads(pageless("model", "classes", "--release", "6.1", "--json").stdout)
    assert len(rows) == 69
    assert rows[-1]["size"] == 4096


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_with_its_own_status_and_no_traceback(
    number: signal.Signals, tmp_path: Path
) -> None:
    fifo = tmp_path / "linux.tar"
    os.mkfifo(fifo)
    # Reading the tarball waits for a writer that never comes.
    process = subprocess.Popen(
        [sys.executable, "-c", "from toolkit.cli import main; main()", "fetch", str(fifo)],
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background may have it ignored.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("fetch ")
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
