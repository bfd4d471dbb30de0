# SPDX-License-Identifier: GPL-2.0-only
"""Two zram disks, two pools: what one does must not show in the other."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import CHURN, page_bytes, run, run_together

DISK_BYTES = 4 << 20
SECONDS = 4


@workload(
    suites=["full"],
    deadline_s=180,
    single_threaded=False,
    needs=["ZRAM", "COMPACTION"],
    floors={"writes": 200, "reads": 200, "resets": 1, "bytes_verified": 3 * DISK_BYTES},
)
def exercise(bench: Bench) -> None:
    """Churn two zram disks at once, reset one of them, and find the other whole."""
    guest = bench.guest
    pages_before = zram.nr_zspages(guest)
    slots = zram.slots_for(guest, DISK_BYTES)
    disksize = slots * page_bytes(guest)
    with zram.disk(guest, disksize) as kept, zram.disk(guest, disksize) as lost:
        states = {}
        for name, device, seed in (("kept", kept, bench.seed), ("lost", lost, bench.seed + 1)):
            states[name] = f"--device={device.device} --state=/tmp/{name}.state"
            run(bench, f"{name}-created", f"zblk create --slots={slots} --seed={seed} {states[name]}")

        churn = f"{CHURN} --writers=2 --readers=1 --seconds={SECONDS}"
        run_together(
            bench,
            {
                "kept-churned": f"{churn} {states['kept']}",
                "lost-churned": f"{churn} {states['lost']}",
                "compacting": f"poke --seconds={SECONDS} --every-ms=200 "
                f"{kept.sysfs}/compact {lost.sysfs}/compact {memory.COMPACT}",
            },
        )
        for name, device in (("kept", kept), ("lost", lost)):
            report = run(bench, f"{name}-verified", f"zblk verify {states[name]}")
            zram.check_accounting(bench, name, device, report)
            zram.check_io_errors(bench, name, device)
        bench.checkpoint("churned")

        lost.reset()
        bench.count("resets", 1)
        report = run(bench, "kept-alone", f"zblk verify {states['kept']}")
        zram.check_accounting(bench, "kept-alone", kept, report)
        bench.checkpoint("reset")
    zram.check_residue(bench, "removed", pages_before)
