# SPDX-License-Identifier: GPL-2.0-only
"""A run as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from toolkit import saved
from toolkit.errors import StoreError
from toolkit.record import Outcome, Run
from toolkit.render import render
from toolkit.report import plot, summary
from toolkit.report.view import CellView, RunView, gather
from toolkit.verdict import Status

TEMPLATE = Path(__file__).parent / "templates" / "report.html.j2"


def write(run: Run, outcome: Outcome) -> None:
    """Write the run's report.html; StoreError if it cannot be written."""
    text = page(gather(run, outcome))
    try:
        run.html_file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{run.html_file}: {error.strerror}") from None


def page(view: RunView) -> str:
    """The document."""
    failing = [cell for cell in view.cells if summary.failing(cell.record)]
    failing.sort(key=lambda cell: -cell.record.status.severity)
    return render(
        TEMPLATE,
        view=view,
        failing=failing,
        counted=summary.counted([cell.record.status for cell in view.cells]),
        checks_of=summary.failing,
        took=lambda record: summary.duration(summary.took_s(record)),
        Status=Status,
        size={"width": plot.WIDTH, "height": plot.HEIGHT, "left": plot.LEFT, "right": plot.RIGHT,
              "top": plot.TOP, "bottom": plot.BOTTOM},
        data=_embedded({"run": saved.to_plain(view.plan), "cells": [_data(cell) for cell in view.cells]}),
    )  # fmt: skip


def _data(view: CellView) -> dict[str, Any]:
    """What the page knows of a cell, for its own script and for whoever reads it by program."""
    return {
        "anchor": view.anchor,
        "record": saved.to_plain(view.record),
        "tables": [
            {
                "checkpoint": table.checkpoint,
                "pool": table.pool,
                "columns": table.columns,
                "seen": {row.size: [value.seen for value in row.values] for row in table.rows},
                "expected": {row.size: [[v.low, v.high] for v in row.values] for row in table.rows},
            }
            for table in view.tables
        ],
        "plots": {
            figure.plot.title: {
                "unit": figure.plot.unit,
                "time_s": figure.plot.time_s,
                "marks": figure.plot.marks,
                "lines": figure.plot.lines,
            }
            for figure in view.figures
        },
    }


def _embedded(value: object) -> str:
    """JSON that may stand in a script element: it cannot end it."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
