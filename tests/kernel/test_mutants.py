# SPDX-License-Identifier: GPL-2.0-only
"""Mutants are small, well placed, and drawn alike by the same seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.errors import DeclarationError, UnknownNameError
from toolkit.kernel import faults, series
from toolkit.kernel.mutants import Mutant, draw, mutants

SOURCE = """\
static void destroy(struct pool *pool, int fg)
{
	int i, count = 0;
	struct thing *thing;

	VM_BUG_ON(!pool);
	spin_lock(&pool->lock);
	for (i = 0; i < pool->count; i++) {
		if (pool->things[i] && fg)
			free_thing(pool, thing);
		count++;
	}
	spin_unlock(&pool->lock);
	pr_info("%d\\n", count);
}

static int __init at_boot(void)
{
	return register_it();
}
"""


@pytest.fixture(scope="module")
def found() -> tuple[Mutant, ...]:
    return mutants("mm/zsmalloc.c", SOURCE)


def edits(found: tuple[Mutant, ...], operator: str) -> list[tuple[str, str]]:
    return [(mutant.before, mutant.after) for mutant in found if mutant.operator == operator]


def test_each_operator_makes_its_edits(found: tuple[Mutant, ...]) -> None:
    condition = "pool->things[i] && fg"
    assert edits(found, "negate-condition") == [(condition, f"!({condition})")]
    assert edits(found, "drop-condition") == [(condition, f"0 && ({condition})")]
    assert edits(found, "off-by-one") == [("<", "<=")]
    assert edits(found, "wrong-constant") == [("0", "1"), ("0", "1")]
    assert edits(found, "swap-arguments") == [("pool, thing", "thing, pool")]
    assert edits(found, "drop-statement") == [("free_thing(pool, thing)", ""), ("count++", "")]
    assert edits(found, "drop-order") == [("spin_lock(&pool->lock)", ""), ("spin_unlock(&pool->lock)", "")]


def test_what_nobody_could_notice_is_left_alone(found: tuple[Mutant, ...]) -> None:
    assert {mutant.function for mutant in found} == {"destroy"}
    assert not [mutant for mutant in found if "BUG_ON" in mutant.before or "pr_info" in mutant.before]


def test_a_mutant_is_one_line_of_difference(found: tuple[Mutant, ...]) -> None:
    for mutant in found:
        changed = [
            line for line in mutant.diff.splitlines() if line[0] in "+-" and line[:3] not in ("+++", "---")
        ]
        assert [line[0] for line in changed] == ["-", "+"], mutant.name


def test_only_the_functions_that_are_wanted_are_mutated() -> None:
    assert mutants("mm/migrate.c", SOURCE) == ()


def test_the_lot_is_decided_by_the_seed_and_spares_no_function(found: tuple[Mutant, ...]) -> None:
    assert draw(found, 4, 1) == draw(found, 4, 1)
    assert draw(found, len(found) + 1, 1) == draw(found, len(found), 2)
    two = mutants("mm/zsmalloc.c", SOURCE + SOURCE.replace("destroy", "create"))
    assert {mutant.function for mutant in draw(two, 2, 3)} == {"destroy", "create"}


def test_a_mutant_is_kept_as_a_fault(found: tuple[Mutant, ...], tmp_path: Path) -> None:
    path = tmp_path / f"{found[0].name}.patch"
    path.write_text(found[0].patch(7), encoding="utf-8")
    fault = faults.read(path)
    assert (fault.history, fault.operator) == ("drawn with seed 7", found[0].operator)
    assert (fault.function, fault.files) == ("destroy", ("mm/zsmalloc.c",))


@pytest.mark.parametrize("line", faults.lines())
def test_every_fault_that_is_declared_can_be_read(line: str) -> None:
    assert faults.names(line)
    for name in faults.names(line):
        fault = faults.load(line, name)
        assert len(series.load(str(fault.path)).patches(line)) == 1
        assert fault.operator or fault.symptom, f"{name}: how would one notice it?"


def test_an_unknown_fault_gets_a_near_miss() -> None:
    with pytest.raises(UnknownNameError, match="unknown fault 'free-panic'") as caught:
        faults.load("6.1", "free-panic")
    assert caught.value.hint == "did you mean 'free-panics'?"


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ("Symptom: a crash", "has no History: line"),
        ("History: 2020\nMark: never", "unknown mark 'never'"),
        ("History: 2020\nSymptoms: none", "unknown key 'Symptoms'"),
    ],
)
def test_a_fault_without_its_story_is_refused(message: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "fault.patch"
    diff = mutants("mm/zsmalloc.c", SOURCE)[0].diff
    path.write_text(f"Subject: [fault] x: y\n\nWords.\n\n{message}\n\n---\n{diff}", encoding="utf-8")
    with pytest.raises(DeclarationError, match=complaint):
        faults.read(path)
