# SPDX-License-Identifier: GPL-2.0-only
"""A guest's trace followed in user space, and who stands alone if the three do not agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.test_judge import TODAY, unpack_to
from tests.userspace.conftest import edited_program, program_of
from toolkit import judge, saved
from toolkit.deadline import Deadline
from toolkit.errors import TraceError
from toolkit.evidence import Evidence, Followed
from toolkit.model.geometry import geometry
from toolkit.model.operations import Recorder
from toolkit.userspace.follow import follow
from toolkit.verdict import Check, Status

pytestmark = pytest.mark.kernel

LIMIT_S = 300.0


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    """What a guest of arm64 left, with its trace followed in the zsmalloc of the same release."""
    left = unpack_to("zram-compact-arm64", tmp_path)
    case = judge.Case(left)
    pools = follow(
        case.traced.operations, program_of("6.1", 4096), case.geometry, deadline=Deadline.after(LIMIT_S)
    )
    saved.write(left.userspace, Followed("0" * 64, pools))
    return left


def oracles(evidence: Evidence) -> Check:
    verdict, _ = judge.judge(evidence, (), TODAY)
    return next(check for check in verdict.checks if check.name == "oracles")


def test_model_user_space_and_guest_agree_on_a_real_trace(evidence: Evidence) -> None:
    check = oracles(evidence)
    assert check.status is Status.PASS
    assert "class tables of the model, user space and the guest" in check.summary


def test_who_stands_alone_is_named(evidence: Evidence) -> None:
    followed = saved.read(Followed, evidence.userspace)
    pools = list(followed.pools)
    row = pools[1].table[-1]
    table = (*pools[1].table[:-1], replace(row, obj_used=row.obj_used + 1))
    pools[1] = replace(pools[1], table=table)
    saved.write(evidence.userspace, replace(followed, pools=tuple(pools)))
    check = oracles(evidence)
    assert check.status is Status.FAIL
    assert "user space differs from both others" in check.summary

    path = next(evidence.checkpoint(pools[1].checkpoint).glob("sys/kernel/debug/zsmalloc/*/classes"))
    text = path.read_text(encoding="utf-8").splitlines()
    words = text[-3].split()
    assert int(words[0]) == row.index, "the last row before the totals, that of the largest class"
    used, total = int(words[-4]), int(text[-1].split()[-3])
    words[-4] = str(used + 1)
    text[-3] = " ".join(words)
    text[-1] = " ".join([*text[-1].split()[:-3], str(total + 1), *text[-1].split()[-2:]])
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    assert "the model differs from both others" in oracles(evidence).summary


def test_a_pool_that_one_has_not_is_a_difference(evidence: Evidence) -> None:
    followed = saved.read(Followed, evidence.userspace)
    saved.write(evidence.userspace, replace(followed, pools=followed.pools[1:]))
    assert "no such pool for user space" in oracles(evidence).summary


def test_a_tree_that_does_not_fit_is_skipped_and_one_that_breaks_fails(evidence: Evidence) -> None:
    saved.write(evidence.userspace, Followed(unfit="the tree's mm/zsmalloc.c does not compile"))
    assert oracles(evidence).status is Status.SKIP
    saved.write(evidence.userspace, Followed(broke="zsmalloc in user space: BUG"))
    assert oracles(evidence).status is Status.FAIL


def trace(handles: int) -> Recorder:
    made = Recorder()
    made.create(7)
    for handle in range(handles):
        made.malloc(500 + handle, handle, pool=7)
    return made


def test_a_planted_fault_breaks_the_tree_or_its_table() -> None:
    broken = edited_program("class_stat_dec(class, OBJ_USED, 1);\n\tfullness = fix", "fullness = fix")
    made = trace(40)
    for handle in range(0, 40, 2):
        made.free(handle, pool=7)
    made.mark("halved")
    limit = Deadline.after(LIMIT_S)
    sound = follow(made.operations(), program_of("6.1", 4096), geometry("6.1", 4096), deadline=limit)
    other = follow(made.operations(), broken, geometry("6.1", 4096), deadline=limit)
    assert sum(row.obj_used for row in sound[0].table) == 20
    assert sum(row.obj_used for row in other[0].table) == 40


def test_an_operation_that_cannot_be_is_named_with_its_row() -> None:
    made = trace(2)
    made.free(9, pool=7)
    with pytest.raises(TraceError, match=r"operation 3 \(FREE\) was answered by"):
        follow(
            made.operations(), program_of("6.1", 4096), geometry("6.1", 4096),
            deadline=Deadline.after(LIMIT_S),
        )  # fmt: skip


def test_pools_that_follow_one_another_with_the_same_identity_are_told_apart() -> None:
    made = trace(3)
    made.mark("first")
    for handle in range(3):
        made.free(handle, pool=7)
    made.destroy(7)
    made.create(7)
    made.malloc(100, 1, pool=7)
    made.mark("second")
    seen = follow(
        made.operations(), program_of("6.1", 4096), geometry("6.1", 4096), deadline=Deadline.after(LIMIT_S)
    )
    objects = [(pool.checkpoint, pool.order, sum(row.obj_used for row in pool.table)) for pool in seen]
    assert objects == [("first", 0, 3), ("second", 1, 1)]
    assert np.unique([pool.pages_compacted for pool in seen]).tolist() == [0]
