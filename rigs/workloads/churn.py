# SPDX-License-Identifier: GPL-2.0-only
"""Writers, readers, discards and compaction of the pool, all at once on one disk."""

from toolkit.workload import Bench, workload, zram
from toolkit.workload.programs import CHURN, page_bytes, run, run_together

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
    guest = bench.guest
    pages_before = zram.nr_zspages(guest)
    slots = zram.slots_for(guest, DISK_BYTES)

    with zram.disk(guest, slots * page_bytes(guest)) as device:
        state = f"--device={device.device} --state=/tmp/churn.state"
        seconds = f"--seconds={SECONDS}"
        run(bench, "created", f"zblk create --slots={slots} --seed={bench.seed} {state}")
        report = run(bench, "filled", f"zblk write --mix=mixed {state}")
        zram.check_accounting(bench, "filled", device, report)
        bench.checkpoint("filled")

        reports = run_together(
            bench,
            {
                "churned": f"{CHURN} --writers=3 --readers=2 --batch=4 {seconds} {state}",
                "compacting": f"poke {seconds} --every-ms=100 {device.sysfs}/compact",
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
        report = run(bench, "verified", f"zblk verify {state}")
        zram.check_accounting(bench, "churned", device, report)
        bench.checkpoint("churned")

        run(bench, "emptied", f"zblk discard {state}")
        zram.check_io_errors(bench, "all", device)
        bench.checkpoint("emptied")
    zram.check_residue(bench, "removed", pages_before)
