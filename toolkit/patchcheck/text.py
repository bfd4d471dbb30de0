# SPDX-License-Identifier: GPL-2.0-only
"""A series patch by patch, at the terminal: a line for each patch and architecture, then what is wrong."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.patchcheck import Patchcheck, Step
from toolkit.report import summary
from toolkit.verdict import worst

# So many functions, and moved metrics of a workload, are spelled out.
_SHOWN = 4


def lines(found: Patchcheck) -> Iterator[str]:
    """The whole report."""
    width = max((len(step.arch) for step in found.steps), default=0)
    for arch, statuses in found.baseline.items():
        word = worst(statuses).value.upper()
        yield f"{word:5}  0 {arch:{width}}  suite {summary.counted(statuses)}  before the series"
    for step in found.steps:
        word = step.status.value.upper()
        yield f"{word:5} {step.number:2} {step.arch:{width}}  {_row(step)}  {step.subject}"
    for step in found.steps:
        told = list(_told(step))
        if told:
            yield ""
            yield f"{step.number:2} {step.arch}  {step.subject}"
            yield from told


def _row(step: Step) -> str:
    build = "FAILED" if step.trouble else "ok"
    text = "?" if step.growth is None else f"{step.growth.bytes:+d}"
    return (
        f"build {build}, new warnings {len(step.new_warnings)}, suite {summary.counted(step.suite)},"
        f" text {text}, moved {count_moved(step)}"
    )


def count_moved(step: Step) -> str:
    """How many metrics moved, "?" if no workload had repeats enough to tell."""
    known = [moved for moved in step.moved.values() if moved is not None]
    return str(sum(map(len, known))) if known else "?"


def _told(step: Step) -> Iterator[str]:
    yield from (f"     {line}" for line in step.trouble.splitlines())
    yield from (f"     new warning: {text}" for text in step.new_warnings)
    if step.unexamined:
        yield f"     does not compile alone, so not looked at for warnings: {', '.join(step.unexamined)}"
    if step.growth is not None and step.growth.changes:
        yield f"     text {step.growth}"
        yield from _cut([f"       {change}" for change in step.growth.changes])
    for workload, moved in step.moved.items():
        if moved:
            yield f"     {workload} moved {len(moved)} metrics"
            yield from _cut([f"       {one}" for one in moved])


def _cut(texts: list[str]) -> Iterator[str]:
    yield from texts[:_SHOWN]
    if len(texts) > _SHOWN:
        yield f"       ... and {len(texts) - _SHOWN} more: --json"
