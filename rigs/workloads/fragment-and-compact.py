# SPDX-License-Identifier: GPL-2.0-only
"""Memory is fragmented and compacted while zspages are made, used and freed in it."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import CHURN, page_bytes, run, run_together

DISK_BYTES = 16 << 20
SECONDS = 6


@workload(
    suites=["quick", "full"],
    deadline_s=300,
    single_threaded=False,
    needs=["ZRAM", "COMPACTION"],
    floors={"cycles": 2, "bytes_verified": DISK_BYTES, "zs_page_migrate": 100},
)
def exercise(bench: Bench) -> None:
    """Compact fragmented memory, zspages in the way, while a zram disk is churned."""
    guest = bench.guest
    pages_before = zram.nr_zspages(guest)
    slots = zram.slots_for(guest, DISK_BYTES)
    with zram.disk(guest, slots * page_bytes(guest)) as device:
        state = f"--device={device.device} --state=/tmp/fragment.state"
        run(bench, "created", f"zblk create --slots={slots} --seed={bench.seed} {state}")
        fragment_mib = memory.available_mib(guest) // 8
        run_together(
            bench,
            {
                "churned": f"{CHURN} --writers=2 --readers=1 --seconds={SECONDS} {state}",
                "fragmented": f"fragment --mib={fragment_mib} --seconds={SECONDS} --hold-ms=200 --cycles=2 "
                f"--compact={memory.COMPACT}",
            },
        )
        report = run(bench, "verified", f"zblk verify {state}")
        zram.check_accounting(bench, "churned", device, report)
        bench.checkpoint("churned")

        # At rest: what is left is all at one end, where nothing but compaction moved it.
        guest.write(memory.COMPACT, "1")
        run(bench, "moved", f"zblk verify {state}")
        bench.checkpoint("moved")
        zram.check_io_errors(bench, "all", device)
    zram.check_residue(bench, "removed", pages_before)
