# SPDX-License-Identifier: GPL-2.0-only
"""The README's tables of long campaigns, from the records beside this file.

python results/tables.py [--write]

Each stands in the README between <!-- NAME --> and <!-- /NAME -->.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from toolkit import alarms, campaign, saved
from toolkit.campaign import SIM, Finding
from toolkit.kernel import faults, series
from toolkit.patchcheck import Patchcheck, text
from toolkit.report import summary
from toolkit.userspace.build import COMPILED

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"


def markdown(*rows: tuple[object, ...]) -> Iterator[str]:
    """A table whose first row is its head."""
    head, *others = (f"| {' | '.join(map(str, row))} |" for row in rows)
    yield head
    yield "|" + "---|" * len(rows[0])
    yield from others


def kind(fault: faults.Fault) -> str:
    """What a fault is to the reader: where it comes from."""
    if fault.mark == faults.EQUIVALENT:
        return "equivalents, which nothing must find"
    if fault.series != series.BASELINE:
        return f"wrong on purpose, in {fault.series}"
    if fault.operator:
        return "drawn by lot over zsmalloc, migration and zram"
    if fault.history[:4].isdecimal():
        return "bugs that upstream had"
    if "without sight" in fault.history:
        return "written without sight of the suite"
    if "race" in fault.history:
        return "windows that only a choreographed race holds open"
    return "wrong on purpose"


def run_table() -> Iterator[str]:
    """The main job, a row for each workload."""
    for path in sorted(HERE.glob("run-*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        targets = list(dict.fromkeys((one["series"], one["arch"]) for one in found))
        cells = {(one["workload"], one["series"], one["arch"]): one for one in found}
        titles = {one["workload"]: one["title"].rstrip(".") for one in found}
        rows: list[tuple[object, ...]] = [
            ("workload", "what it does", *(f"{series} {arch}" for series, arch in targets))
        ]
        for workload, title in titles.items():
            told = (_told(cells[workload, series, arch]) for series, arch in targets)
            rows.append((f"`{workload}`", title, *told))
        yield from markdown(*rows)


def _told(cell: Any) -> str:
    words = [cell["status"]]
    if cell["compared"]:
        words.append(f"{cell['exact']} of {cell['compared']}")
    if cell["moved"]:
        words.append(f"{cell['moved']} moved")
    return ", ".join(words)


def fault_table() -> Iterator[str]:
    """The catalogue by where its faults come from: what was found by what."""
    rows: list[tuple[object, ...]] = [
        (
            "kernel", "faults", "in the catalogue", "tried", "harmless", "found", "by `sim` alone",
            "in guests", "not found",
        )
    ]  # fmt: skip
    for path in sorted(HERE.glob("faults-*.json")):
        line = path.stem.removeprefix("faults-")
        groups: dict[str, list[faults.Fault]] = defaultdict(list)
        for name in faults.names(line):
            groups[kind(faults.load(line, name))].append(faults.load(line, name))
        found = campaign.load(path)
        for title, members in sorted(groups.items(), key=lambda item: -len(item[1])):
            best = [one for one in (_best(found, fault) for fault in members) if one is not None]
            numbers = campaign.score(best, lambda name, line=line: faults.load(line, name))  # type: ignore[misc]
            killed = [one for one in best if one.fate is campaign.Fate.KILLED]
            alone = sum(one.killer == SIM for one in killed)
            rows.append(
                (
                    line, title, len(members), len(best), numbers.harmless, len(killed), alone,
                    len(killed) - alone, numbers.survived + numbers.sometimes,
                )
            )  # fmt: skip
    yield from markdown(*rows)


def _best(found: campaign.Findings, fault: faults.Fault) -> Finding | None:
    """The finding on the architecture that noticed it, or on any."""
    of = [one for one in found.findings if (one.fault, one.sha256) == (fault.name, fault.sha256)]
    return next((one for one in of if one.fate is campaign.Fate.KILLED), of[0] if of else None)


def survivor_table() -> Iterator[str]:
    """What nothing found, though the kernel is wrong, and why."""
    rows: list[tuple[object, ...]] = [("kernel", "fault", "why nothing finds it")]
    for path in sorted(HERE.glob("faults-*.json")):
        line = path.stem.removeprefix("faults-")
        found = campaign.load(path)
        for fault in (faults.load(line, name) for name in faults.names(line)):
            one = _best(found, fault)
            if one is None:
                continue
            numbers = campaign.score([one], lambda _, fault=fault: fault)  # type: ignore[misc]
            if numbers.survived + numbers.sometimes:
                rows.append((line, f"`{fault.name}`", fault.survives or "**not known yet**"))
    yield from markdown(*rows)


def alarm_table() -> Iterator[str]:
    """Good kernels, run again and again."""
    rows: list[tuple[object, ...]] = [
        (
            "kernel",
            "series",
            "architecture",
            "configuration",
            "suite",
            "runs",
            "cells",
            "checks a run",
            "alarms",
        )
    ]
    for path in sorted(HERE.glob("alarms-*.json")):
        rows += [
            (g.version, g.series, g.arch, g.config, f"`{g.suite}`", g.turns, g.cells, f"{g.fewest} or more",
             len(g.alarms))
            for g in alarms.groups(alarms.load(path))
        ]  # fmt: skip
    yield from markdown(*rows)


def sim_table() -> Iterator[str]:
    """What user space alone finds of the faults that are in zsmalloc and in what moves its pages."""
    rows: list[tuple[object, ...]] = [
        ("kernel", "planted in", "faults", "harmless", "found", "missed, for they need a race", "missed")
    ]
    for path in sorted(HERE.glob("sim-*.json")):
        line = path.stem.removeprefix("sim-")
        known = {name: faults.load(line, name) for name in faults.names(line)}
        parts: dict[str, list[campaign.Finding]] = {}
        for one in campaign.load(path).findings:
            if one.fault in known:
                where = ", ".join(sorted(COMPILED.intersection(known[one.fault].files)))
                parts.setdefault(where, []).append(one)
        for where, tried in sorted(parts.items(), reverse=True):
            numbers = campaign.score(tried, known.__getitem__)
            missed = [
                known[one.fault]
                for one in tried
                if one.fate is campaign.Fate.SURVIVED and known[one.fault].mark != faults.EQUIVALENT
            ]
            races = sum(
                fault.mark == faults.SOMETIMES or any(name.startswith("race-") for name in fault.workloads)
                for fault in missed
            )
            rows.append(
                (line, where, len(tried), numbers.harmless, numbers.killed, races, len(missed) - races)
            )
    yield from markdown(*rows)


def sequence_table() -> Iterator[str]:
    """Random sequences, model against user space."""
    rows: list[tuple[object, ...]] = [("kernel", "pages", "sequences", "requests", "that differ")]
    for one in json.loads((HERE / "sequences.json").read_text(encoding="utf-8")):
        requests = sum(one["requests"].values())
        rows.append(
            (one["version"], f"{one['page_size'] >> 10}K", one["sequences"], requests, len(one["differing"]))
        )
    yield from markdown(*rows)


# What is told of each series: its words, and where the number is.  Of a spread it is the median.
QUANTITIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("runs", ("repeats",)),
    ("bytes of a zspage, with SLUB's debugging", ("zspage_bytes",)),
    ("bytes of code, mm/zsmalloc.c", ("zsmalloc_code",)),
    ("metadata of a stored MB, bytes", ("metadata_per_mb", "now")),
    ("with what it leaves of struct page", ("metadata_per_mb", "then")),
    ("calls of isolate_movable_page()", ("counters", "isolate_calls")),
    ("that came to zsmalloc", ("counters", "isolate_reached")),
    ("pages moved", ("counters", "zs_page_migrate")),
    ("frees deferred", ("counters", "async_free_zspage")),
    *(
        (words, ("counters", f"order_{order}_after_{passes}"))
        for order, what in ((9, "free blocks of order 9"), (0, "free pages of order 0"))
        for words, passes in ((f"{what}: before", 0), ("after one pass", 1), ("after four", 4))
    ),
    *(
        (f"instructions: {name}", ("instructions", name))
        for name in ("alloc", "free", "map", "unmap", "compact", "isolate", "migrate")
    ),
)


def variant_table() -> Iterator[str]:
    """What each series makes of zsmalloc, beside the baseline."""
    for path in sorted(HERE.glob("variants-*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        rows: list[tuple[object, ...]] = [("", *(f"{one['series']} {one['arch']}" for one in found))]
        for words, where in QUANTITIES:
            rows.append((words, *(_median(one, where) for one in found)))
        yield from markdown(*rows)


def _median(found: Any, where: Sequence[str]) -> str:
    for name in where:
        found = found[name]
    if not isinstance(found, dict):
        return f"{found}"
    spread = f" ({found['low']:.0f} to {found['high']:.0f})" if found["low"] != found["high"] else ""
    return f"{found['median']:.0f}{spread}"


def patchcheck_table() -> Iterator[str]:
    """What each patch of a series came to, by itself."""
    for number, path in enumerate(sorted(HERE.glob("patchcheck-*.json"), reverse=True)):
        if number:
            # Else one table would go on in the other.
            yield ""
        found = saved.read(Patchcheck, path)
        archs = tuple(found.baseline)
        rows: list[tuple[object, ...]] = [
            (
                f"{found.series} on {found.version}",
                "new warnings",
                *(f"`smoke`, {arch}" for arch in archs),
                *(f"bytes of code, {arch}" for arch in archs),
                *(f"metrics moved, {arch}" for arch in archs),
            )
        ]
        first = [summary.counted(found.baseline[arch]) for arch in archs]
        rows.append(("before the series", "", *first, *([""] * 2 * len(archs))))
        for step_number in dict.fromkeys(step.number for step in found.steps):
            steps = [step for step in found.steps if step.number == step_number]
            rows.append(
                (
                    f"{step_number}. {steps[0].subject}",
                    sum(len(step.new_warnings) for step in steps),
                    *(summary.counted(step.suite) for step in steps),
                    *("?" if step.growth is None else f"{step.growth.bytes:+d}" for step in steps),
                    *(text.count_moved(step) for step in steps),
                )
            )
        yield from markdown(*rows)


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "run": run_table,
    "faults": fault_table,
    "survivors": survivor_table,
    "alarms": alarm_table,
    "sim": sim_table,
    "sequences": sequence_table,
    "variants": variant_table,
    "patchcheck": patchcheck_table,
}


def rendered(readme: str) -> str:
    """A README with its tables anew."""
    for name, table in TABLES.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->\n)", re.DOTALL)
        lines = "".join(f"{line}\n" for line in table())
        readme, count = place.subn(lambda found, lines=lines: found[1] + lines + found[2], readme)  # type: ignore[misc]
        if count != 1:
            raise SystemExit(f"{README.name} has {count} places for the table {name}, not one")
    return readme


def main() -> None:
    parser = argparse.ArgumentParser(description="The README's tables of long campaigns.")
    parser.add_argument("--write", action="store_true", help="Put them into the README.")
    readme = README.read_text(encoding="utf-8")
    if parser.parse_args().write:
        README.write_text(rendered(readme), encoding="utf-8")
        return
    for name, table in TABLES.items():
        print(name, *table(), sep="\n")


if __name__ == "__main__":
    main()
