# SPDX-License-Identifier: GPL-2.0-only
"""Runs on disk, made of what a guest really left: to report on."""

from __future__ import annotations

import dataclasses
import gzip
import shutil
from collections.abc import Sequence
from pathlib import Path

from toolkit import saved
from toolkit.collect import snapshot
from toolkit.evidence import Ending, Evidence, Facts
from toolkit.record import Built, Cell, Outcome, Plan, Record, Run, conclude
from toolkit.verdict import Check, Status, Verdict

DATA = Path(__file__).parents[1] / "data"
NAME = "6.1-x86_64"

FILL = Cell("6.1", "none", "x86_64", "base", "fill", 1, 0)
PATCHED = dataclasses.replace(FILL, series="pageless-owner")
CHURN = dataclasses.replace(FILL, workload="churn", seed=7, repeat=2)

GOOD = Check("model/obj_used", Status.PASS, "69 values, 69 of them exact: all as expected")
BAD = Check(
    "model/freeable",
    Status.FAIL,
    "compacted, zram0, class 3264: freeable expected 0, seen 8",
    "0",
    "8",
    "one thread at a time: the model followed every operation of the trace",
)
SPLAT = Check(
    "health",
    Status.CRASH,
    "kernel BUG at mm/zsmalloc.c:1990!",
    "nothing",
    "[   20.4] kernel BUG <script>alert(1)</script>\n[   20.5] \x1b[31mpc : zs_page_isolate\x00\n"
    + "line\n" * 40,
    "a good kernel prints none of these",
)
BUILT = Built("6.1.192", "6.1.192-1", "f" * 40, "k" * 64, "gcc 12.2.0")


def record(cell: Cell, *checks: Check, **more: object) -> Record:
    plain = Record(
        cell,
        Ending.FINISHED,
        Verdict(checks),
        built=BUILT,
        accelerator="tcg",
        durations_s={"boot": 2.5, "exercise": 100.0},
        counters={"zs_page_migrate": 271, "writes": 480},
    )
    return dataclasses.replace(plain, **more)  # type: ignore[arg-type]


def leave_evidence(evidence: Evidence, checkpoint: str = "compacted") -> None:
    """What the recorded guest left, with its one snapshot at this checkpoint."""
    evidence.directory.mkdir(parents=True)
    shutil.copytree(DATA / "trace" / NAME, evidence.trace)
    taken = snapshot.parse((DATA / "snapshot" / f"{NAME}.frames").read_bytes())
    taken.save(evidence.checkpoint(checkpoint))
    evidence.samples.mkdir()
    text = gzip.decompress((DATA / "samples" / f"{NAME}.txt.gz").read_bytes())
    (evidence.samples / "samples.txt").write_bytes(text)
    facts = Facts("fill", True, {}, "6.1.192", 4096, None, Ending.FINISHED, checkpoints=(checkpoint,))
    saved.write(evidence.facts_file, facts)


def make(
    directory: Path, records: Sequence[Record], *, across: Sequence[Check] = (), unrun: Sequence[Cell] = ()
) -> tuple[Run, Outcome]:
    """A run of these records, and of cells that never ran, without evidence."""
    run = Run(directory / "20261123-050000-abcd")
    (run.directory / "cells").mkdir(parents=True)
    cells = (*(one.cell for one in records), *unrun)
    plan = Plan(run.id, "2026-11-23T05:00:00+00:00", ("pageless", "run", "--suite", "quick"), cells)
    saved.write(run.plan_file, plan)
    return run, conclude(plan, tuple(records), tuple(across))
