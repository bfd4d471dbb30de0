# SPDX-License-Identifier: GPL-2.0-only
"""Writers, readers, discards and compaction of the pool, all at once on one disk."""

from toolkit.workload import Bench, workload, zram
from toolkit.workload.programs import CHURN, run_together

DISK_BYTES = 8 << 20
SECONDS = 5


@workload(
    suites=["quick", "full"],
    deadline_s=180,
    single_threaded=False,
    needs=["ZRAM"],
    floors={"writes": 200, "reads": 200, "discards": 30, "bytes_verified": DISK_BYTES},
)
def exercise(bench: Bench) -> None:
    """Write, read, discard and compact one zram disk from several threads at once."""
    with zram.known_disk(bench, DISK_BYTES) as disk:
        seconds = f"--seconds={SECONDS}"
        report = disk.run("filled", "write --mix=mixed")
        zram.check_accounting(bench, "filled", disk.device, report)
        bench.checkpoint("filled")

        reports = run_together(
            bench,
            {
                "churned": f"{CHURN} --writers=3 --readers=2 --batch=4 {seconds} {disk.options}",
                "compacting": f"poke {seconds} --every-ms=100 {disk.device.sysfs}/compact",
            },
        )
        compactions = reports["compacting"]
        bench.check(
            "io/compacting",
            compactions.number("errors") == 0,
            expected="no error",
            seen=compactions.values["last_error"] or "none",
            because="an initialised device can always be compacted",
        )
        disk.settle("churned")

        disk.run("emptied", "discard")
        zram.check_io_errors(bench, "all", disk.device)
        bench.checkpoint("emptied")
