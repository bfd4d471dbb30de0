# SPDX-License-Identifier: GPL-2.0-only
"""What b4 shows of us beside a series under review: its external check, a mail in and JSON out.

b4 (0.15 and later) runs `review-series-check-cmd` in the kernel's git tree, with the cover letter,
or else the first patch, on stdin.
"""

from __future__ import annotations

import email
import email.policy
from collections.abc import Sequence
from dataclasses import dataclass

from toolkit import pipeline
from toolkit.archive import Archive
from toolkit.errors import HostError, InputError, PagelessError
from toolkit.progress import Progress
from toolkit.report import summary
from toolkit.verdict import Status

TOOL = "pageless"


@dataclass(frozen=True)
class Result:
    """One line of b4's list; `status` is "pass", "warn" or "fail"."""

    tool: str
    status: str
    summary: str
    details: str = ""
    url: str = ""


def series_of(mail: bytes) -> str:
    """The series that a mail belongs to, by its message id; InputError if it has none."""
    found = email.message_from_bytes(mail, policy=email.policy.default)["Message-ID"]
    if not found:
        raise InputError("the mail on stdin has no Message-ID", hint="or name the series: --series")
    return f"lore:{str(found).strip().strip('<>')}"


def check(
    kept: Archive,
    *,
    kernel: str,
    series: str,
    archs: Sequence[str],
    workloads: Sequence[str],
    operations: int,
    argv: Sequence[str],
    jobs: int,
    progress: Progress,
) -> tuple[Result, ...]:
    """Whether a series applies, what its zsmalloc does in user space, and, with workloads, in guests.

    Trouble of the host is a warning: it says nothing about the series.
    """
    results: list[Result] = []
    try:
        tree = pipeline.patched(kernel, series, progress)
        results.append(Result(f"{TOOL}/apply", "pass", f"applies to Linux {tree.version}"))
        done = pipeline.simulate(
            kernel,
            series,
            page_size=4096,
            operations=operations,
            cases=pipeline.SIM_CASES,
            seed=1,
            deadline_s=600,
            progress=progress,
        )
        difference = done.difference
        told = "as it must be" if difference is None else f"goes wrong: {difference.what}"
        results.append(
            Result(
                f"{TOOL}/sim",
                {Status.PASS: "pass", Status.FAIL: "fail"}.get(done.status, "warn"),
                f"{operations} operations in user space: {told}",
                "" if difference is None else difference.detail,
            )
        )
        if workloads:
            results.append(_guests(kept, kernel, series, archs, workloads, argv, jobs, progress))
    except HostError as error:
        results.append(Result(TOOL, "warn", f"cannot test: {error.message}", error.detail or error.hint))
    except PagelessError as error:
        results.append(Result(TOOL, "fail", error.message, error.detail or error.hint))
    return tuple(results)


def _guests(
    kept: Archive,
    kernel: str,
    series: str,
    archs: Sequence[str],
    workloads: Sequence[str],
    argv: Sequence[str],
    jobs: int,
    progress: Progress,
) -> Result:
    cells = pipeline.plan(
        kernels=[kernel], series=[series], archs=archs, config="base", workloads=workloads, seed=1, repeat=1
    )
    _, outcome = pipeline.execute(kept, cells, argv=argv, jobs=jobs, clone=True, progress=progress)
    status = {Status.PASS: "pass", Status.ERROR: "warn", Status.SKIP: "warn"}.get(outcome.status, "fail")
    failed = [
        f"{record.cell.label}\n  {check.name}: {check.summary}\n  again: {record.cell.command}"
        for record in outcome.cells
        for check in summary.failing(record)[:1]
    ]
    counted = summary.counted([record.status for record in outcome.cells])
    return Result(f"{TOOL}/run", status, f"{counted} on {', '.join(archs)}", "\n".join(failed))
