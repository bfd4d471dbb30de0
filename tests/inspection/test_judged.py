# SPDX-License-Identifier: GPL-2.0-only
"""Inspections as a part of a cell's evidence: compared with debugfs and mm_stat, and judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.test_judge import TODAY, change, unpack_to
from toolkit import judge, saved
from toolkit.evidence import Ending, Evidence
from toolkit.inspection.heap import Finding, Layout
from toolkit.inspection.inspection import Inspection, PoolSeen, Row
from toolkit.inspection.rules import RULES
from toolkit.verdict import Check, Status


def seen(case: judge.Case, checkpoint: str) -> Inspection:
    """An inspection that agrees with what was captured at a checkpoint."""
    pools = []
    for name, table in case.tables[checkpoint].items():
        rows = []
        for row in table.rows:
            groups = dict(zip(case.geometry.column_groups, row.fullness.values(), strict=True))
            fullness = tuple(groups.get(group, 0) for group in range(4))
            rows.append(Row(row.index, row.size, fullness, row.obj_allocated, row.obj_used, row.pages_used))
        stat = case.mm_stat(checkpoint, name)
        assert stat is not None
        pools.append(PoolSeen(name, table.pages_used, table.obj_used, stat.pages_compacted, tuple(rows)))
    return Inspection(
        source="guest",
        release=case.facts.release,
        layout=Layout.CHAIN,
        page_size=case.facts.page_size,
        pools=tuple(pools),
        looked=dict.fromkeys(RULES, 7),
        findings=(),
    )


@pytest.fixture
def inspected(tmp_path: Path) -> Evidence:
    """A recorded cell whose guest was inspected at each checkpoint."""
    evidence = unpack_to("zram-compact-arm64", tmp_path)
    case = judge.Case(evidence)
    evidence.inspection("baseline").parent.mkdir()
    for name in case.facts.checkpoints:
        saved.write(evidence.inspection(name), seen(case, name))
    return evidence


def checks(evidence: Evidence, prefix: str) -> dict[str, Check]:
    verdict, _ = judge.judge(evidence, (), TODAY)
    return {check.name: check for check in verdict.checks if check.name.startswith(prefix)}


def populated(evidence: Evidence) -> str:
    return next(
        name
        for name in evidence.facts().checkpoints
        if any(pool.objects for pool in saved.read(Inspection, evidence.inspection(name)).pools)
    )


def test_memory_that_agrees_with_debugfs_and_mm_stat_passes(inspected: Evidence) -> None:
    found = checks(inspected, "inspect")
    assert set(found) == {f"inspect/{rule}" for rule in (*RULES, "agrees")}
    assert {check.status for check in found.values()} == {Status.PASS}


def test_a_cell_that_was_not_inspected_has_no_such_check(tmp_path: Path) -> None:
    assert checks(unpack_to("zram-compact-arm64", tmp_path), "inspect") == {}


def test_an_object_that_debugfs_does_not_count_is_found(inspected: Evidence) -> None:
    path = inspected.inspection(populated(inspected))
    look = saved.read(Inspection, path)
    pool = look.pools[0]
    rows = list(pool.rows)
    rows[5] = replace(rows[5], obj_used=rows[5].obj_used + 1)
    saved.write(path, replace(look, pools=(replace(pool, rows=tuple(rows)),)))
    check = checks(inspected, "inspect")["inspect/agrees"]
    assert check.status is Status.FAIL
    assert f"class {rows[5].index}: debugfs says" in check.summary


def test_a_page_that_mm_stat_does_not_count_is_found(inspected: Evidence) -> None:
    path = inspected.inspection(populated(inspected))
    look = saved.read(Inspection, path)
    saved.write(path, replace(look, pools=(replace(look.pools[0], pages=look.pools[0].pages + 1),)))
    assert "mm_stat says" in checks(inspected, "inspect")["inspect/agrees"].summary


def test_a_finding_fails_the_cell(inspected: Evidence) -> None:
    path = inspected.inspection(populated(inspected))
    finding = Finding("freelist", "zram0, class 3", "its free list: it comes back to object 1")
    saved.write(path, replace(saved.read(Inspection, path), findings=(finding,)))
    check = checks(inspected, "inspect")["inspect/freelist"]
    assert check.status is Status.FAIL
    assert check.summary == f"{populated(inspected)}: {finding}"


def test_a_workload_that_leaves_no_object_is_skipped_and_says_so(inspected: Evidence) -> None:
    for name in inspected.facts().checkpoints:
        look = saved.read(Inspection, inspected.inspection(name))
        pools = tuple(replace(pool, objects=0) for pool in look.pools)
        saved.write(inspected.inspection(name), replace(look, pools=pools))
    assert {check.status for check in checks(inspected, "inspect").values()} == {Status.SKIP}


def test_the_core_of_a_guest_that_hung_is_judged_too(inspected: Evidence) -> None:
    change(inspected, ending=Ending.HUNG)
    finding = Finding("list", "zram0, class 3", "it comes back")
    look = saved.read(Inspection, inspected.inspection(populated(inspected)))
    saved.write(inspected.core_inspection, replace(look, findings=(finding,)))
    assert checks(inspected, "core")["core/list"].status is Status.FAIL
