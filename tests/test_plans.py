# SPDX-License-Identifier: GPL-2.0-only
"""Plans are declared strictly, and an interrupted run of one goes on where it stopped."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.report.runs import BAD, CHURN, FILL, GOOD, record
from toolkit import pipeline, plans, saved
from toolkit.archive import Archive
from toolkit.errors import DeclarationError, UnknownNameError
from toolkit.evidence import Ending
from toolkit.record import Cell, Record, Run
from toolkit.verdict import Check, Status
from toolkit.workload import catalogue


@pytest.mark.parametrize("name", plans.names())
def test_every_declared_plan_has_cells(name: str) -> None:
    cells = pipeline.plan_of(plans.load(name), ["x86_64"])
    assert cells
    assert len(set(cells)) == len(cells)


def test_cells_of_one_template_are_together_but_for_the_first_which_has_it_booted() -> None:
    cells = pipeline.plan(
        kernels=["6.1"],
        series=["none"],
        archs=["x86_64", "arm64"],
        config="base",
        workloads=["fill", "drive", "reset", "churn", "limits"],
        seed=1,
        repeat=1,
    )
    workloads = {cell.workload: catalogue.load(cell.workload) for cell in cells}
    ordered = pipeline.in_order(cells, workloads)
    assert sorted(ordered, key=cells.index) == list(cells)
    templates = [(cell.arch, workloads[cell.workload].machine) for cell in ordered]
    a, b, c, d = dict.fromkeys(templates)
    assert templates == [a, b, a, a, c, b, d, c, c, d]
    for template in (a, b, c, d):
        lasting = [
            workloads[cell.workload].deadline_s
            for cell, its in zip(ordered, templates, strict=True)
            if its == template
        ]
        assert lasting == sorted(lasting, reverse=True)


def test_a_plan_is_the_product_of_its_lists(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'title = "t"\nkernels = ["6.1"]\nseries = ["none", "x"]\nworkloads = ["fill"]\n'
        'archs = ["arm64"]\nconfigs = ["base", "debug"]\nseeds = [1, 2, 3]\nrepeat = 2\n',
        encoding="utf-8",
    )
    cells = pipeline.plan_of(plans.load(str(path)), ["x86_64"])
    assert len(cells) == 2 * 2 * 3 * 2
    assert {cell.arch for cell in cells} == {"arm64"}
    path.write_text(path.read_text(encoding="utf-8") + "sedes = [1]\n", encoding="utf-8")
    with pytest.raises(DeclarationError, match="sedes"):
        plans.load(str(path))
    with pytest.raises(UnknownNameError):
        plans.load("everwhere")


class _Quiet:
    def step(self, title: str) -> Any:
        return contextlib.nullcontext(lambda text: None)


def test_a_resumed_run_keeps_its_records_and_runs_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure stays one; trouble of the host, and a cell without a record, are tried again."""
    kept = Archive(tmp_path)
    cells = (*(dataclasses.replace(FILL, repeat=n) for n in range(3)), CHURN)
    begun = kept.begin(["pageless"], cells)
    lost = Check("ending", Status.ERROR, "no kernel")
    for one in (record(cells[0], GOOD, BAD), record(cells[1], lost, ending=Ending.UNBUILT)):
        begun.cell_directory(one.cell).mkdir(parents=True)
        saved.write(begun.record_file(one.cell), one)
    ran: list[Cell] = []

    def run_cell(kept_run: Run, cell: Cell, *_: object) -> Record:
        ran.append(cell)
        return record(cell, GOOD)

    monkeypatch.setattr(pipeline, "patched_all", lambda wanted, _: dict.fromkeys(wanted))
    monkeypatch.setattr(pipeline, "_prepare", lambda *_: None)
    monkeypatch.setattr(pipeline, "_check_source", lambda *_: ())
    monkeypatch.setattr(pipeline, "_cell", run_cell)
    monkeypatch.setattr(pipeline, "_conclude", lambda kept, kept_run, records: tuple(records))
    again, outcome = pipeline.execute(
        kept, cells, argv=[], jobs=1, clone=True, progress=_Quiet(), resumed=begun, simulated=False
    )
    assert again == begun
    # The one that may take longest goes first.
    assert sorted(ran, key=cells.index) == [cells[1], cells[2], CHURN]
    assert [one.cell for one in outcome] == list(cells)  # type: ignore[attr-defined]
    assert outcome[0].status is Status.FAIL  # type: ignore[index]
