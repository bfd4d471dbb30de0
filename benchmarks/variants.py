# SPDX-License-Identifier: GPL-2.0-only
"""What a series makes of zsmalloc beside the baseline: sizes, compaction, instructions.  Judges nothing.

python benchmarks/variants.py RUN... [--workload compact-passes] [--json]

The runs are of that workload over several series, with repeats enough for medians:

pageless run --series none --series pageless-owner --series pageless-compound \\
    --workload compact-passes --repeat 10

The repeats are medians, each with the least and the most; instructions are those of `pageless count`.
`--json >results/variants-6.1.json` keeps it for the README.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import statistics
from collections import defaultdict
from collections.abc import Sequence

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from rich.console import Console

from toolkit import judge, pipeline
from toolkit.archive import Archive
from toolkit.judge import Case
from toolkit.kernel import series
from toolkit.model.descriptors import Memmap, costs
from toolkit.pipeline import Target
from toolkit.progress import Progress, on
from toolkit.record import Record, Run
from toolkit.verdict import Status

# What a series would leave of struct page, by its variant.
MEMMAPS = {"": Memmap.STRUCT_PAGE, "owner": Memmap.TWO_WORDS, "compound": Memmap.ONE_WORD}
# Of a cell's counters, those that are told.
COUNTERS = (
    "isolate_calls",
    "isolate_reached",
    "zs_page_migrate",
    "async_free_zspage",
    *(f"{kind}_after_{passes}" for kind in ("order_9", "order_0") for passes in (0, 1, 4)),
)


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def code_bytes(target: Target, progress: Progress) -> int:
    """Bytes of code in the object of mm/zsmalloc.c, as it was built into the kernel."""
    _tree, kernel = pipeline.built(target, progress)
    with (kernel.directory / "zsmalloc.o").open("rb") as file:
        parts = ELFFile(file).iter_sections()
        return sum(part.data_size for part in parts if part["sh_flags"] & SH_FLAGS.SHF_EXECINSTR)


def variant(passed: Sequence[tuple[Run, Record]], progress: Progress) -> dict[str, object]:
    """The numbers of one series on one architecture, of all its repeats."""
    records = [record for _kept, record in passed]
    cell = records[0].cell
    target = Target.of(cell)
    seen = [judge.census(Case(kept.evidence(record.cell))) for kept, record in passed]
    stored = [one[1] for one in seen if one is not None]
    after = MEMMAPS[series.load(cell.series).variant]
    per_mb = {
        name: spread([cost.per_stored_mb for one in stored for cost in costs(one) if cost.memmap is memmap])
        for name, memmap in (("now", Memmap.STRUCT_PAGE), ("then", after))
    }
    instructions = pipeline.count(target, progress)
    return {
        "kernel": records[0].built.version if records[0].built else cell.kernel,
        "arch": cell.arch,
        "series": cell.series,
        "repeats": len(records),
        "zspage_bytes": spread([one.zspage_slot for one in stored]),
        "metadata_per_mb": per_mb,
        "counters": {name: spread([record.counters.get(name, 0) for record in records]) for name in COUNTERS},
        "zsmalloc_code": code_bytes(target, progress),
        "instructions": {name: dataclasses.asdict(cost) for name, cost in instructions.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What a series makes of zsmalloc.")
    parser.add_argument("runs", metavar="RUN", nargs="+")
    parser.add_argument("--workload", default="compact-passes")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    groups: dict[tuple[str, str], list[tuple[Run, Record]]] = defaultdict(list)
    for kept in map(Archive.default().find, options.runs):
        for record in kept.records():
            if record.cell.workload == options.workload and record.status is Status.PASS:
                groups[record.cell.arch, record.cell.series].append((kept, record))
    with on(Console(stderr=True)) as progress:
        found = [variant(passed, progress) for passed in groups.values()]
    if options.json:
        print(json.dumps(found, indent=1))
        return
    for one in found:
        print(*(f"{name}: {value}" for name, value in one.items()), sep="\n", end="\n\n")


if __name__ == "__main__":
    main()
