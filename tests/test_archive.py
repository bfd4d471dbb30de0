# SPDX-License-Identifier: GPL-2.0-only
"""Runs that were kept: found again, by an index that survives damage."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from toolkit import saved
from toolkit.archive import Archive
from toolkit.errors import StoreError, UnknownNameError
from toolkit.evidence import Ending
from toolkit.record import Built, Cell, Record, Run, conclude
from toolkit.verdict import Check, Status, Verdict

CELL = Cell("6.1", "none", "arm64", "base", "fill", seed=7, repeat=0)
PASSED = Record(
    CELL,
    Ending.FINISHED,
    Verdict((Check("content", Status.PASS, "intact"),)),
    built=Built("6.1.192", "6.1.192-2", "abc", "def", "gcc 12"),
    durations_s={"boot": 1.5},
    counters={"zs_page_migrate": 3},
)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "runs")


def ended(archive: Archive, record: Record = PASSED) -> Run:
    run = archive.begin(["pageless", "run"], [CELL])
    run.cell_directory(CELL).mkdir(parents=True)
    saved.write(run.record_file(CELL), record)
    archive.end(run, conclude(run.plan(), run.records(), ()))
    return run


def test_a_run_id_is_its_utc_time_and_four_hex_digits(archive: Archive) -> None:
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{4}", archive.begin([], [CELL]).id)


def test_a_record_comes_back_as_it_was_kept(archive: Archive) -> None:
    assert ended(archive).records() == (PASSED,)


def test_a_run_is_found_by_its_id_by_a_prefix_and_as_the_last(archive: Archive) -> None:
    run = ended(archive)
    assert archive.find(run.id) == archive.find(run.id[:-2]) == archive.find("last") == run


def test_an_unknown_run_is_refused_with_the_near_miss(archive: Archive) -> None:
    run = ended(archive)
    with pytest.raises(UnknownNameError, match="unknown run") as caught:
        archive.find(run.id[:-4] + "zzzz")
    assert run.id in caught.value.hint


def test_the_index_tells_status_and_size_newest_first(archive: Archive) -> None:
    run = ended(archive)
    (entry,) = archive.entries()
    assert (entry.id, entry.status, entry.cells, entry.command) == (run.id, "pass", 1, "pageless run")


def test_a_run_that_did_not_end_has_no_status(archive: Archive) -> None:
    archive.begin([], [CELL])
    assert archive.entries()[0].status is None


@pytest.mark.parametrize("damage", [b"not a database, but long enough to be taken for one" * 40, None])
def test_a_damaged_or_lost_index_is_rebuilt_from_the_directories(
    archive: Archive, damage: bytes | None
) -> None:
    run = ended(archive)
    before = archive.entries()
    for file in archive.root.glob("index.sqlite*"):
        file.unlink()
    if damage is not None:
        (archive.root / "index.sqlite").write_bytes(damage)
    assert archive.entries() == before
    assert archive.find(run.id) == run


def test_a_state_directory_that_cannot_be_made_is_the_hosts_trouble(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file, not a directory")
    with pytest.raises(StoreError, match="runs"):
        Archive(tmp_path / "runs").begin([], [CELL])


def test_a_plan_with_a_cell_that_has_no_record_is_an_error_at_best(archive: Archive) -> None:
    run = archive.begin([], [CELL])
    assert conclude(run.plan(), (), ()).status is Status.ERROR


def test_a_failed_check_across_cells_fails_the_run(archive: Archive) -> None:
    run = archive.begin([], [CELL])
    across = (Check("cross-arch/classes", Status.FAIL, "differs"),)
    assert conclude(run.plan(), (PASSED,), across).exit_status == 1


def test_a_cells_slug_holds_no_separator_even_if_its_kernel_is_a_path() -> None:
    cell = Cell("/src/linux@v6.1", "../mine", "arm64", "debug+kasan", "fill", 1, 0)
    assert cell.slug == "src-linux-v6-1.mine.arm64.debug+kasan.fill.1.0"
