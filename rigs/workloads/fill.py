# SPDX-License-Identifier: GPL-2.0-only
"""Every kind of page in every size class, from one thread."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import Report, page_bytes, run

DISK_BYTES = 8 << 20


@workload(
    suites=["smoke", "quick", "full"],
    deadline_s=180,
    single_threaded=True,
    machine="single",
    needs=["ZRAM"],
    floors={"writes": 512, "discards": 512, "bytes_verified": DISK_BYTES},
)
def exercise(bench: Bench) -> None:
    """Fill, overwrite and empty a zram disk from one thread, through all size classes."""
    guest = bench.guest
    memory.keep_quiet(guest)
    pages_before = zram.nr_zspages(guest)
    slots = zram.slots_for(guest, DISK_BYTES)
    eighth = slots // 8
    discarded = 0

    with zram.added(guest) as device:
        state = f"--device={device.device} --state=/tmp/fill.state --cpu=0"

        def phase(name: str, command: str) -> Report:
            nonlocal discarded
            report = run(bench, name, f"zblk {command} {state}")
            discarded += report.number("discards")
            zram.check_accounting(bench, name, device, report)
            bench.checkpoint(name)
            return report

        device.initialise(slots * page_bytes(guest))
        phase("empty", f"create --slots={slots} --seed={bench.seed}")
        phase("spread", f"write --mix=spread --to={4 * eighth}")
        phase("small", f"write --mix=small --from={4 * eighth} --to={5 * eighth}")
        phase("random", f"write --mix=random --from={5 * eighth} --to={6 * eighth}")
        phase("same", f"write --mix=same --from={6 * eighth} --to={7 * eighth}")
        phase("mixed", f"write --mix=mixed --from={7 * eighth} --batch=16")
        phase("nearly", "write --mix=nearly --step=8")
        phase("nearly-verified", "verify --step=8")
        phase("overwritten", "write --mix=mixed --step=3")
        phase("thinned", "discard --from=1 --step=4")
        phase("refilled", "write --mix=churn --from=1 --step=8")
        phase("zeroed", "discard --zero-out --from=2 --step=4")
        phase("verified", "verify")
        phase("verified-batched", "verify --batch=16")
        phase("emptied", "discard --batch=64")
        zram.check_emptied(bench, "emptied", device)
        zram.check_io_errors(bench, "all", device)
        freed = device.io_stat()[3]
        bench.check(
            "accounting/notify_free",
            freed == discarded,
            expected=discarded,
            seen=freed,
            because="zram counts every page of every discard",
        )
    zram.check_residue(bench, "removed", pages_before)
