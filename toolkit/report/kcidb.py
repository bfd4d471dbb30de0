# SPDX-License-Identifier: GPL-2.0-only
"""A run for KernelCI's database, in KCIDB's schema, which kcidb-io validates.

A tree with its series is a checkout, a kernel a build, a cell a test and each of its checks a test
below it.  Trouble of the rig is MISS, so that no kernel is blamed for it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

from toolkit.errors import MissingToolError
from toolkit.evidence import Ending
from toolkit.record import Outcome, Plan, Record
from toolkit.report import summary
from toolkit.verdict import Check, Status

ORIGIN = "pageless"
# The schema's limit of an excerpt.
_EXCERPT = 16384

STATUSES = {
    Status.PASS: "PASS",
    Status.FAIL: "FAIL",
    Status.CRASH: "FAIL",
    Status.ERROR: "MISS",
    Status.SKIP: "SKIP",
}


def text(plan: Plan, outcome: Outcome) -> str:
    """The document as JSON; MissingToolError without kcidb-io."""
    return json.dumps(document(plan, outcome), indent=1) + "\n"


def document(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """The document, validated."""
    try:
        import kcidb_io
    except ImportError:
        raise MissingToolError(
            "kcidb-io is not installed", hint="pip install 'pageless[results]', or pip install kcidb-io"
        ) from None
    schema = kcidb_io.schema.V5_3
    records = summary.records(plan, outcome)
    checkouts = {_checkout_id(record): _checkout(record, plan) for record in records}
    builds = {_build_id(record): _build(record) for record in records}
    found: dict[str, Any] = {
        "version": {"major": schema.major, "minor": schema.minor},
        "checkouts": list(checkouts.values()),
        "builds": list(builds.values()),
        "tests": [test for number, record in enumerate(records) for test in _tests(plan, number, record)],
    }
    validated: dict[str, Any] = schema.validate(found)
    return validated


def _checkout_id(record: Record) -> str:
    # Of a tree that was never applied nobody knows more than its names.
    tree = record.built.tree_id if record.built else _digest(f"{record.cell.kernel} {record.cell.series}")
    return f"{ORIGIN}:{tree}"


def _build_id(record: Record) -> str:
    cell = record.cell
    unbuilt = f"{cell.kernel} {cell.series} {cell.arch} {cell.config}"
    return f"{ORIGIN}:{record.built.key if record.built else _digest(unbuilt)}"


def _checkout(record: Record, plan: Plan) -> dict[str, Any]:
    cell = record.cell
    found: dict[str, Any] = {
        "id": _checkout_id(record),
        "origin": ORIGIN,
        "start_time": plan.started,
        "comment": f"{cell.kernel} with series {cell.series}",
    }
    if record.built is not None:
        # The base is no commit of a public tree: a package, or a tree of the user's.
        found["tree_name"] = record.built.package_version or cell.kernel
        found["valid"] = True
        found["misc"] = {"tree": record.built.tree_id, "version": record.built.version}
    return found


def _build(record: Record) -> dict[str, Any]:
    found = {
        "id": _build_id(record),
        "origin": ORIGIN,
        "checkout_id": _checkout_id(record),
        "architecture": re.sub(r"[^a-z0-9_]", "_", record.cell.arch.lower()),
        "config_name": record.cell.config,
    }
    if record.built is not None:
        return {**found, "status": "PASS", "misc": {"release": record.built.release}}
    if record.ending is Ending.UNBUILT and record.detail:
        # A compiler's words: the kernel does not build.
        return {**found, "status": "FAIL", "log_excerpt": _excerpt(record.detail)}
    return {**found, "status": "MISS"}


def _tests(plan: Plan, number: int, record: Record) -> Iterator[dict[str, Any]]:
    cell = record.cell
    common = {
        "origin": ORIGIN,
        "build_id": _build_id(record),
        "start_time": plan.started,
        "environment": {"comment": f"QEMU, {record.accelerator or 'accelerator not recorded'}"},
    }
    path = f"pageless.{_word(cell.workload)}"
    failing = "\n\n".join(f"{check.name}: {check.summary}\n{check.seen}" for check in summary.failing(record))
    yield {
        **common,
        "id": f"{ORIGIN}:{plan.id}.{number}",
        "path": path,
        "status": STATUSES[record.status],
        "duration": round(summary.took_s(record), 3),
        "comment": cell.label,
        "misc": {"again": cell.command, "counters": dict(record.counters)},
        **({"log_excerpt": _excerpt(failing)} if failing else {}),
    }
    for place, check in enumerate(record.verdict.checks):
        yield {
            **common,
            "id": f"{ORIGIN}:{plan.id}.{number}.{place}",
            "path": ".".join([path, *map(_word, check.name.split("/"))]),
            "status": STATUSES[check.status],
            "comment": check.summary[:500],
            **({"log_excerpt": _excerpt(_told(check))} if check.status is not Status.PASS else {}),
        }


def _told(check: Check) -> str:
    return f"{check.summary}\nexpected: {check.expected}\nseen: {check.seen}\nbecause: {check.because}"


def _word(name: str) -> str:
    """A node of a path, which holds no dots."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_") or "_"


def _excerpt(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:_EXCERPT]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
