# SPDX-License-Identifier: GPL-2.0-only
"""zsmalloc is driven directly by KUnit cases, each a seeded program of one thread or of several."""

import re

from toolkit.workload import Bench, drive, memory, workload

RESULTS = "/sys/kernel/debug/kunit/zsdrive/results"
_CASE = re.compile(r"^\s*(?P<failed>not )?ok \d+ (?:- )?(?P<name>\S+)", re.MULTILINE)


@workload(
    suites=["full"],
    deadline_s=240,
    single_threaded=False,
    needs=["ZSMALLOC", "MODULES", "KUNIT_DEBUGFS"],
    # The suite itself, its cases.
    floors={"results": 3},
)
def exercise(bench: Bench) -> None:
    """Run the module that drives zsmalloc as a suite of KUnit, and once more to look at its pools."""
    memory.keep_quiet(bench.guest)
    with drive.loaded(bench) as driver:
        results = bench.guest.read(RESULTS).decode()
        driver.run(threads=2, operations=2000, objects=200)
        bench.checkpoint("driven")
        driver.end("driven")
    for case in _CASE.finditer(results):
        bench.count("results", 1)
        bench.check(
            f"kunit/{case['name']}",
            not case["failed"],
            expected="ok",
            seen=results.strip() if case["failed"] else "ok",
            because="each expectation of a case holds, for all its seeds",
        )
