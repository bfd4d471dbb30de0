# SPDX-License-Identifier: GPL-2.0-only
"""An inspection: what one or several looks at a guest's memory came to, as it is kept and judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from toolkit.inspection import rules
from toolkit.inspection.heap import Finding, Heap, Layout, SizeClass
from toolkit.inspection.rules import RULES
from toolkit.verdict import Check, Status

SCHEMA = 1
_SHOWN = 5


@dataclass(frozen=True)
class Row:
    """A size class as debugfs would show it: `fullness` are zspages by group."""

    index: int
    size: int
    fullness: tuple[int, ...]
    obj_allocated: int
    obj_used: int
    pages_used: int


@dataclass(frozen=True)
class PoolSeen:
    """One pool, counted from its zspages and objects and not from its counters."""

    name: str
    pages: int
    objects: int
    pages_compacted: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Inspection:
    """What was looked at and found.

    `source` says where ("guest" or a core's name), `looked` how many things each rule
    looked at, `busy` which locks were held, `looks` how often it was looked until the
    findings stayed.
    """

    source: str
    release: str
    layout: Layout
    page_size: int
    pools: tuple[PoolSeen, ...]
    looked: Mapping[str, int]
    findings: tuple[Finding, ...]
    busy: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    looks: int = 1
    schema: int = SCHEMA

    @property
    def status(self) -> Status:
        """ERROR if there was no pool or no object to look at: that proves nothing."""
        if self.findings:
            return Status.FAIL
        return Status.PASS if self.looked.get("handle") else Status.ERROR


def inspect(heap: Heap, source: str) -> Inspection:
    """Every rule on a heap."""
    verdicts = rules.check(heap)
    return Inspection(
        source=source,
        release=heap.release,
        layout=heap.layout,
        page_size=heap.page_size,
        pools=tuple(
            PoolSeen(
                name=pool.name,
                pages=sum(len(zspage.pages) for one in pool.classes for zspage in one.zspages),
                objects=sum(_allocated(one) for one in pool.classes),
                pages_compacted=pool.pages_compacted,
                rows=tuple(map(_row, pool.classes)),
            )
            for pool in heap.pools
        ),
        looked={rule: verdicts.looked[rule] for rule in RULES},
        findings=tuple(verdicts.findings),
        busy=heap.busy,
        notes=heap.notes,
    )


def _allocated(one: SizeClass) -> int:
    return sum(sum(header & 1 for header in zspage.headers) for zspage in one.zspages)


def _row(one: SizeClass) -> Row:
    listed = Counter(zspage.found_in for zspage in one.zspages)
    return Row(
        index=one.index,
        size=one.size,
        fullness=tuple(listed[group] for group in range(len(one.counted))),
        obj_allocated=len(one.zspages) * one.objects,
        obj_used=_allocated(one),
        pages_used=sum(len(zspage.pages) for zspage in one.zspages),
    )


def checks(prefix: str, inspections: Mapping[str, Inspection]) -> tuple[Check, ...]:
    """One check for each rule over several inspections, by where they were made; see RULES.

    A rule that looked at nothing in all of them is no pass but an ERROR, "declared" and
    "lost" too: a populated pool gives all of them something to look at.
    """
    result = []
    for rule, because in RULES.items():
        found = [
            f"{where}: {finding}"
            for where, one in inspections.items()
            for finding in one.findings
            if finding.rule == rule
        ]
        looked = sum(one.looked.get(rule, 0) for one in inspections.values())
        if found:
            more = f" (and {len(found) - _SHOWN} more)" if len(found) > _SHOWN else ""
            summary, status = "; ".join(found[:_SHOWN]) + more, Status.FAIL
        elif not looked:
            summary, status = "exercised nothing: no pool with an object was there to look at", Status.ERROR
        else:
            summary, status = f"{looked} things looked at: all as they must be", Status.PASS
        result.append(Check(f"{prefix}/{rule}", status, summary, "none", str(len(found)), because))
    return tuple(result)
