# SPDX-License-Identifier: GPL-2.0-only
"""b4 gets JSON in its own form whatever happens, and no series is blamed for the rig."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from toolkit import pipeline, review, saved
from toolkit.archive import Archive
from toolkit.errors import ApplyError, InputError, MissingToolError, PagelessError
from toolkit.review import Result
from toolkit.verdict import Status

CALL = "from toolkit.cli import main; main()"


class _Quiet:
    def step(self, title: str) -> Any:
        return contextlib.nullcontext(lambda text: None)


def _check(tmp_path: Path) -> tuple[Result, ...]:
    return review.check(
        Archive(tmp_path), kernel=".", series="s", archs=["x86_64"], workloads=[], operations=10, argv=[],
        jobs=1, progress=_Quiet(),
    )  # fmt: skip


@pytest.fixture
def applies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "patched", lambda *_: SimpleNamespace(version="6.1.192"))


def test_the_series_is_that_of_the_mails_message_id() -> None:
    assert review.series_of(b"Message-ID: <1.2@example.org>\nSubject: x\n\n") == "lore:1.2@example.org"
    with pytest.raises(InputError, match="no Message-ID"):
        review.series_of(b"Subject: x\n\n")


@pytest.mark.parametrize(
    ("status", "told"), [(Status.PASS, "pass"), (Status.FAIL, "fail"), (Status.ERROR, "warn")]
)
def test_what_user_space_says_is_told(
    applies: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: Status, told: str
) -> None:
    difference = SimpleNamespace(what="the class table", detail="x") if status is Status.FAIL else None
    done = SimpleNamespace(status=status, difference=difference)
    monkeypatch.setattr(pipeline, "simulate", lambda *_, **__: done)
    assert [result.status for result in _check(tmp_path)] == ["pass", told]


@pytest.mark.parametrize(
    ("error", "told"),
    [(ApplyError("1.patch", "mm/x.c", ""), "fail"), (MissingToolError("b4 is not installed"), "warn")],
)
def test_an_error_is_a_result_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: PagelessError, told: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(pipeline, "patched", fail)
    (result,) = _check(tmp_path)
    assert (result.status, error.message in result.summary) == (told, True)


def test_b4_itself_reads_what_we_print(tmp_path: Path) -> None:
    checks = pytest.importorskip("b4.review.checks")
    printed = json.dumps(saved.to_plain([Result("pageless/apply", "pass", "applies")]))
    command = tmp_path / "check"
    command.write_text(f"#!/bin/sh\ncat >{tmp_path}/mail\nprintf '%s' '{printed}'\n", encoding="utf-8")
    command.chmod(0o755)
    mail = EmailMessage()
    mail["Message-ID"] = "<1@example.org>"
    mail["Subject"] = "[PATCH 0/1] x"
    mail.set_content("x\n")
    (result,) = checks.run_series_checks(("1@example.org", mail), [str(command)], str(tmp_path))
    assert (result["tool"], result["status"], result["summary"]) == ("pageless/apply", "pass", "applies")
    assert review.series_of((tmp_path / "mail").read_bytes()) == "lore:1@example.org"


def test_at_the_command_line_a_failure_is_json_and_status_1(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CALL, "b4-check", "-s", "none", "-k", tmp_path],
        capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    (result,) = json.loads(done.stdout)
    assert (done.returncode, result["status"]) == (1, "fail")
    assert "is no kernel tree" in result["summary"]
