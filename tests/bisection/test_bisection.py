# SPDX-License-Identifier: GPL-2.0-only
"""What a run of a step says: good, bad, or nothing about the trouble that is searched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.kernel.conftest import git
from tests.report.runs import BUILT, FILL
from toolkit import bisection
from toolkit.archive import Archive
from toolkit.bisection import Step, Trouble, Vote
from toolkit.errors import SourceError
from toolkit.evidence import Ending
from toolkit.kernel import source
from toolkit.record import Outcome, Record, conclude
from toolkit.verdict import Check, Status, Verdict

GOOD = Check("ending", Status.PASS, "the workload came to its end")
WRONG = Check("content/verified", Status.FAIL, "3 pages differ")
SPLAT = Check(
    "health",
    Status.CRASH,
    "kernel BUG at mm/zsmalloc.c:900!",
    "nothing",
    "[    1.000000] kernel BUG at mm/zsmalloc.c:900!\n[    1.000001] Call Trace:\n"
    "[    1.000002]  zs_page_migrate+0x10/0x20\n[    1.000003]  move_to_new_folio+0x10/0x20\n",
)
OTHER = Check(
    "health",
    Status.CRASH,
    "kernel BUG at fs/inode.c:12!",
    "nothing",
    "[    1.000000] kernel BUG at fs/inode.c:12!\n[    1.000001] Call Trace:\n"
    "[    1.000002]  evict+0x10/0x20\n",
)
DIED = Check("ending", Status.CRASH, "the guest's kernel crashed")
NOTHING = Check("floor/writes", Status.ERROR, "exercised nothing")


def _run(*checks: Check) -> list[Record]:
    return [Record(FILL, Ending.FINISHED, Verdict(checks), built=BUILT)]


def test_the_first_failure_teaches_what_is_searched_and_others_are_foreign() -> None:
    trouble = Trouble()
    assert trouble.vote(_run(GOOD)) is Vote.GOOD
    assert trouble.vote(_run(SPLAT, DIED)) is Vote.BAD
    assert trouble.vote(_run(OTHER, DIED)) is Vote.FOREIGN
    assert trouble.vote(_run(WRONG)) is Vote.FOREIGN
    assert trouble.vote(_run(SPLAT, WRONG)) is Vote.BAD
    assert trouble.vote(_run(NOTHING)) is Vote.SILENT


def test_a_trouble_has_the_faces_that_were_learned_but_for_those_of_a_good_step() -> None:
    trouble = Trouble()
    assert trouble.vote(_run(SPLAT, DIED), learn=True) is Vote.BAD
    assert trouble.vote(_run(OTHER, DIED), learn=True) is Vote.BAD
    assert trouble.vote(_run(WRONG), learn=True) is Vote.BAD
    trouble.unlearn(_run(OTHER, DIED))
    assert trouble.vote(_run(OTHER, DIED)) is Vote.FOREIGN
    assert trouble.vote(_run(SPLAT, DIED)) is Vote.BAD
    trouble.unlearn(_run(SPLAT, WRONG))
    assert trouble.vote(_run(WRONG)) is Vote.BAD, "a good step shows all of it: then it is no good step"


def test_a_pattern_decides_what_is_searched() -> None:
    trouble = Trouble("content/*")
    assert trouble.vote(_run(SPLAT, DIED)) is Vote.FOREIGN
    assert trouble.vote(_run(WRONG)) is Vote.BAD


def test_a_splat_is_known_by_its_frames_and_not_by_how_the_guest_ended() -> None:
    (signature,) = bisection.signatures([SPLAT, DIED])
    assert "zs_page_migrate < move_to_new_folio" in signature
    assert bisection.signatures([DIED]) == {"ending"}


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Steps s@5 and later fail in every second run; s@3 does not build.  Returns what was run."""
    ran: list[str] = []

    def run(
        _kept: Archive,
        step: Step,
        _arch: str,
        _config: str,
        _workloads: Sequence[str],
        seed: int,
        **_: object,
    ) -> Outcome:
        ran.append(step.series)
        number = int(step.series.rpartition("@")[2])
        if number == 3:
            checks: tuple[Check, ...] = (Check("ending", Status.ERROR, "the kernel does not build"),)
        elif number >= 5 and seed % 2:
            checks = (SPLAT, DIED)
        elif seed % 5 == 4:
            checks = (OTHER, DIED)
        else:
            checks = (GOOD,)
        record = Record(FILL, Ending.FINISHED, Verdict(checks), built=None if number == 3 else BUILT)
        from toolkit.record import Plan

        return conclude(Plan("id", "now", (), (FILL,)), (record,), ())

    monkeypatch.setattr(bisection, "_run", run)
    return ran


class _Quiet:
    def step(self, title: str) -> object:
        import contextlib

        return contextlib.nullcontext(lambda text: None)


def _search(tmp_path: Path, limit: int) -> bisection.Found:
    return bisection.bisect(
        Archive(tmp_path),
        [Step("6.1", f"s@{number}", f"patch {number}") for number in range(9)],
        arch="x86_64",
        config="base",
        workloads=["churn"],
        trouble=Trouble(),
        confidence=0.97,
        limit=limit,
        seed=1,
        jobs=1,
        argv=[],
        progress=_Quiet(),  # type: ignore[arg-type]  # only its steps are used
    )


def test_the_patch_that_brought_it_is_named_and_foreign_crashes_are_set_apart(
    planted: list[str], tmp_path: Path
) -> None:
    found = _search(tmp_path, 200)
    assert found.certain
    assert found.suspects[0][0] == "patch 5"
    assert found.signatures == tuple(bisection.signatures([SPLAT]))
    assert found.foreign == tuple(bisection.signatures([OTHER]))
    assert planted.count("s@3") <= 1


def test_a_search_that_ends_early_says_what_is_left(planted: list[str], tmp_path: Path) -> None:
    found = _search(tmp_path, 2)
    assert not found.certain
    assert found.runs == 2
    assert len(found.suspects) > 1


def test_several_runs_vote_and_the_first_bad_one_decides(planted: list[str], tmp_path: Path) -> None:
    def vote(number: int, pattern: str = "") -> Vote:
        return bisection.vote(
            Archive(tmp_path),
            Step("6.1", f"s@{number}", ""),
            arch="x86_64",
            config="base",
            workloads=["churn"],
            trouble=Trouble(pattern),
            runs=4,
            seed=5,
            jobs=1,
            argv=[],
            progress=_Quiet(),  # type: ignore[arg-type]
        )

    assert vote(7) is Vote.BAD
    assert vote(1) is Vote.GOOD
    assert vote(3) is Vote.SILENT
    assert planted == ["s@7", "s@1", "s@1", "s@1", "s@1", "s@3"]


def test_a_range_lists_its_commits_after_the_good_one(user_tree: Path) -> None:
    for name in ("one", "two"):
        (user_tree / "init/main.c").write_text(f"int {name};\n", encoding="utf-8")
        git(user_tree, "commit", "--quiet", "--all", "--message", f"init: {name}")
    good, commits = source.commits(user_tree, "HEAD~2..HEAD")
    assert good == git(user_tree, "rev-parse", "HEAD~2")
    assert [title.partition(" ")[2] for _, title in commits] == ["init: one", "init: two"]
    assert commits[1][0] == git(user_tree, "rev-parse", "HEAD")
    with pytest.raises(SourceError, match="has no commit in"):
        source.commits(user_tree, "HEAD..HEAD~1")
    with pytest.raises(SourceError, match="has no commit 'v9'"):
        source.commits(user_tree, "v9..HEAD")


def test_the_steps_of_a_range_are_kernels_and_those_of_a_series_are_its_first_patches(
    user_tree: Path, cache: Path, tmp_path: Path
) -> None:
    (user_tree / "init/main.c").write_text("int one;\n", encoding="utf-8")
    patch = tmp_path / "one.patch"
    patch.write_text(git(user_tree, "diff") + "\n", encoding="utf-8")
    git(user_tree, "commit", "--quiet", "--all", "--message", "init: one")
    good, bad = (git(user_tree, "rev-parse", name) for name in ("HEAD~1", "HEAD"))
    steps = bisection.steps_of(f"{user_tree}@HEAD~1..HEAD", "6.1", _Quiet())  # type: ignore[arg-type]
    assert [(step.kernel, step.series) for step in steps] == [
        (f"{user_tree}@{good}", "none"),
        (f"{user_tree}@{bad}", "none"),
    ]
    steps = bisection.steps_of(str(patch), f"{user_tree}@{good}", _Quiet())  # type: ignore[arg-type]
    assert [step.series for step in steps] == [f"{patch}@0", f"{patch}@1"]
