# SPDX-License-Identifier: GPL-2.0-only
"""Callers of several kernels stand side by side; a kernel that did not count itself counts for nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.report import runs
from toolkit import census
from toolkit.archive import Archive
from toolkit.collect import tail_locks
from toolkit.collect.snapshot import Snapshot
from toolkit.collect.tail_locks import TailLock
from toolkit.errors import InputError, UnreachedError
from toolkit.evidence import END, Ending
from toolkit.record import Cell, Record, Run

STOCK = dataclasses.replace(runs.FILL, series="census")
COMPOUND = dataclasses.replace(runs.FILL, series="pageless-compound+census")
AGAIN = dataclasses.replace(COMPOUND, seed=2)

_SPLIT = "5 lock_page compound try_to_split_thp_page+0x1c/0x90\n"
_ISOLATE = "7 folio_lock other isolate_movable_page+0x54/0x120\n"


def _selftest(**more: int) -> str:
    counts = {**tail_locks.SELFTEST, **more}
    return "".join(
        f"{count} {function} compound {tail_locks.SELFTEST_CALLER}+0x1/0x2\n"
        for function, count in counts.items()
    )


def _run(root: Path, printed: dict[Cell, str | None], *, ending: Ending = Ending.FINISHED) -> Run:
    """A run whose guests printed that at their ends, or had no such file."""
    from toolkit import saved

    run = Archive(root).begin(["run"], tuple(printed))
    for cell, text in printed.items():
        files = {"/proc/vmstat": "", **({} if text is None else {tail_locks.FILE: text})}
        Snapshot(files, 1.0, {}).save(run.evidence(cell).checkpoint(END))
        record: Record = runs.record(cell, runs.GOOD, ending=ending)
        saved.write(run.record_file(cell), record)
    return run


def _good() -> Iterator[tuple[Cell, str]]:
    yield STOCK, "lost 0\n" + _selftest() + _SPLIT
    yield COMPOUND, "lost 0\n" + _selftest() + _SPLIT + _ISOLATE
    yield AGAIN, "lost 0\n" + _ISOLATE + _selftest()


def test_cells_of_one_kernel_are_one_column_and_the_selftest_is_no_caller(tmp_path: Path) -> None:
    table = census.tabulate([_run(tmp_path, dict(_good()))])
    assert [column.title for column in table.columns] == ["none x86_64", "pageless-compound x86_64"]
    assert table.columns[1].workloads == ("fill seed 1", "fill seed 2")
    assert {row.lock: row.counts for row in table.rows} == {
        TailLock("isolate_movable_page", "folio_lock", "other"): (0, 14),
        TailLock("try_to_split_thp_page", "lock_page", "compound"): (5, 5),
    }


@pytest.mark.parametrize("text", ["lost 1\n" + _selftest(), "lost 0\n", "lost 0\n" + _selftest(lock_page=2)])
def test_a_kernel_that_does_not_count_as_it_should_is_trouble_not_an_empty_table(
    tmp_path: Path, text: str
) -> None:
    with pytest.raises(UnreachedError, match="does not count as it should") as caught:
        census.tabulate([_run(tmp_path, {**dict(_good()), STOCK: text + _SPLIT})])
    assert "of its self-test" in caught.value.detail


def test_runs_that_count_nothing_are_refused(tmp_path: Path) -> None:
    ended_badly = _run(tmp_path / "a", dict(_good()), ending=Ending.HUNG)
    another = _run(tmp_path / "b", {runs.FILL: None})
    with pytest.raises(InputError, match="no kernel of these runs counts"):
        census.tabulate([ended_badly, another])
