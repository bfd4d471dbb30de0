# SPDX-License-Identifier: GPL-2.0-only
"""zsmalloc is driven directly by several threads while memory is fragmented and its pages are moved."""

from toolkit.workload import Bench, drive, memory, workload
from toolkit.workload.programs import run_together


@workload(
    suites=["quick", "full"],
    deadline_s=300,
    single_threaded=False,
    needs=["ZSMALLOC", "MODULES", "COMPACTION"],
    floors={
        "allocations": 6000,
        "bytes_verified": 16 << 20,
        "compactions": 50,
        "cycles": 1,
        "huge": 200,
        "largest": 20,
        "pools": 8,
        "smallest": 100,
        "zs_page_migrate": 50,
    },
)
def exercise(bench: Bench) -> None:
    """Drive zsmalloc by a module, from three threads, while its pages are moved."""
    guest = bench.guest
    with drive.loaded(bench) as driver:
        fragment_mib = memory.available_mib(guest) // 8
        driven = driver.command(threads=3, operations=12_000, objects=600)
        run_together(
            bench,
            {
                "fragmented": f"fragment --mib={fragment_mib} --seconds=6 --hold-ms=200 --cycles=2 "
                f"--compact={memory.COMPACT}",
                "driven": f"{driven} && echo '{{}}'",
            },
        )
        guest.write(memory.COMPACT, "1")
        bench.checkpoint("driven")
        driver.end("driven")
