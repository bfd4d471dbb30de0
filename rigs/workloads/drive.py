# SPDX-License-Identifier: GPL-2.0-only
"""zsmalloc is driven directly, through all size classes, by one thread: what it does is known exactly."""

from toolkit.workload import Bench, drive, memory, workload


@workload(
    suites=["smoke", "quick", "full"],
    deadline_s=180,
    single_threaded=True,
    machine="single",
    needs=["ZSMALLOC", "MODULES"],
    floors={
        "allocations": 3000,
        "bytes_verified": 4 << 20,
        "compactions": 10,
        "huge": 100,
        "largest": 20,
        "pools": 4,
        "refusals": 3,
        "smallest": 50,
    },
)
def exercise(bench: Bench) -> None:
    """Drive zsmalloc by a module, through all size classes, from one thread."""
    memory.keep_quiet(bench.guest)
    with drive.loaded(bench) as driver:
        driver.run(threads=1, operations=10_000, objects=600)
        bench.checkpoint("driven")
        driver.end("driven")
