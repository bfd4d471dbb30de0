# SPDX-License-Identifier: GPL-2.0-only
"""What other tools read of a run: KTAP, KCIDB, a mail.  Trouble of the rig never reads as a failure."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.report.runs import BAD, CHURN, FILL, GOOD, PATCHED, SPLAT, make, record
from toolkit.evidence import Ending
from toolkit.kernel import source
from toolkit.record import Outcome, Plan
from toolkit.report import kcidb, ktap, mail
from toolkit.verdict import Check, Status

NOTHING = Check("floor/writes", Status.ERROR, "exercised nothing")
NUMBERED = Check("health", Status.FAIL, "WARNING # not a directive", "nothing", "line\n\x1b[31mred")


@pytest.fixture
def ran(tmp_path: Path) -> tuple[Plan, Outcome]:
    skipped = dataclasses.replace(CHURN, arch="arm64")
    unbuilt = dataclasses.replace(CHURN, series="broken.patch")
    records = [
        record(FILL, GOOD),
        record(PATCHED, GOOD, BAD, SPLAT, NUMBERED),
        record(CHURN, GOOD, NOTHING),
        record(skipped, Check("ending", Status.SKIP, "the kernel has no ZRAM")),
        record(
            unbuilt,
            Check("ending", Status.ERROR, "the kernel does not build"),
            built=None,
            ending=Ending.UNBUILT,
            detail="mm/zsmalloc.c:1: error: x",
        ),
    ]
    run, outcome = make(
        tmp_path, records, across=[Check("cross-arch/x", Status.PASS, "same")],
        unrun=[dataclasses.replace(FILL, seed=9)],
    )  # fmt: skip
    return run.plan(), outcome


def test_ktap_says_what_failed_and_skips_what_the_rig_could_not_tell(ran: tuple[Plan, Outcome]) -> None:
    lines = ktap.text(*ran).splitlines()
    assert lines[:2] == ["KTAP version 1", "1..7"]
    top = [line for line in lines if line.startswith(("ok", "not ok"))]
    failed = [number for number, line in enumerate(top, 1) if line.startswith(f"not ok {number} ")]
    assert failed == [2]
    assert top[-1] == "ok 7 across cells"
    assert top[2].endswith("# SKIP cannot tell: the rig could not tell")
    assert "  not ok 2 model/freeable" in lines
    assert "  ok 2 floor/writes # SKIP cannot tell: exercised nothing" in lines
    assert "  # WARNING not a directive" in lines
    assert not any("\x1b" in line for line in lines)


@pytest.mark.kernel
def test_ktap_is_what_the_kernels_own_parser_reads(
    ran: tuple[Plan, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = source.fetch(source.load("6.1"), progress=lambda _: None)
    for name in ("kunit_parser.py", "kunit_printer.py"):
        text = tree.repository.show(tree.commit, f"tools/testing/kunit/{name}")
        assert text is not None
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    parser: Any = importlib.import_module("kunit_parser")
    parsed = parser.parse_run_tests(ktap.text(*ran).splitlines())
    assert [test.status.name for test in parsed.subtests] == [
        "SUCCESS", "FAILURE", "SKIPPED", "SKIPPED", "SKIPPED", "SKIPPED", "SUCCESS",
    ]  # fmt: skip
    assert [test.name.split()[-1] for test in parsed.subtests[1].subtests] == [
        "model/obj_used", "model/freeable", "health", "health",
    ]  # fmt: skip
    assert parsed.counts.failed == 3
    assert parsed.counts.errors == parsed.counts.crashed == 0


def test_kcidb_validates_and_never_blames_a_kernel_for_the_rig(ran: tuple[Plan, Outcome]) -> None:
    pytest.importorskip("kcidb_io")
    found = json.loads(kcidb.text(*ran))
    assert found["version"] == {"major": 5, "minor": 3}
    tests: list[dict[str, Any]] = found["tests"]
    cells = [test for test in tests if test["id"].count(".") == 1]
    assert [test["status"] for test in cells] == ["PASS", "FAIL", "MISS", "SKIP", "MISS", "MISS"]
    by_id = {build["id"]: build for build in found["builds"]}
    assert sorted(build["status"] for build in by_id.values()) == ["FAIL", "MISS", "PASS"]
    assert {test["build_id"] for test in tests} == set(by_id)
    assert {build["checkout_id"] for build in by_id.values()} == {one["id"] for one in found["checkouts"]}
    assert len({test["id"] for test in tests}) == len(tests)
    (freeable,) = [test for test in tests if test["path"] == "pageless.fill.model.freeable"]
    assert freeable["status"] == "FAIL"
    assert "freeable expected 0, seen 8" in freeable["log_excerpt"]


def test_kcidb_without_its_library_says_how_to_get_it(
    ran: tuple[Plan, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    from toolkit.errors import MissingToolError

    monkeypatch.setitem(sys.modules, "kcidb_io", None)
    with pytest.raises(MissingToolError, match="kcidb-io is not installed"):
        kcidb.text(*ran)


def test_a_mail_is_short_lines_with_what_failed_and_how_to_see_it_again(ran: tuple[Plan, Outcome]) -> None:
    text = mail.text(*ran)
    assert text.startswith("Subject: [pageless] CRASH: 1 crash, 3 error, 1 pass, 1 skip\n\n")
    assert f"  tree {'f' * 40}\n" in text
    assert "  PASS   x86_64   base      fill                    seed 1\n" in text
    assert "    pageless run --kernel 6.1 --series pageless-owner --arch x86_64" in text
    assert "1 of 1 checks across cells hold." in text
    assert "\n\n\n" not in text
    long = [line for line in text.splitlines() if len(line) > mail.WIDTH and "pageless run" not in line]
    assert long == []


def test_a_mail_of_a_run_that_passed_has_no_more_to_say(tmp_path: Path) -> None:
    run, outcome = make(tmp_path, [record(FILL, GOOD)])
    text = mail.text(run.plan(), outcome)
    assert text.startswith("Subject: [pageless] PASS: 1 pass\n")
    assert "Again" not in text
