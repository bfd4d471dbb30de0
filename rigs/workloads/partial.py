# SPDX-License-Identifier: GPL-2.0-only
"""Requests for many pages, and for parts of pages where pages are larger than 4 KiB."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import page_bytes, run

DISK_BYTES = 4 << 20
# zram's own logical block, by its ZRAM_LOGICAL_BLOCK_SIZE: a part of larger pages.
BLOCK_BYTES = 4096


@workload(
    suites=["full"],
    deadline_s=180,
    single_threaded=True,
    needs=["ZRAM"],
    floors={"writes": 512, "bytes_verified": 3 * DISK_BYTES},
)
def exercise(bench: Bench) -> None:
    """Write and read a zram disk by the block and by the dozen, from one thread."""
    guest = bench.guest
    memory.keep_quiet(guest)
    pages_before = zram.nr_zspages(guest)
    slots = zram.slots_for(guest, DISK_BYTES)
    with zram.disk(guest, slots * page_bytes(guest)) as device:
        state = f"--device={device.device} --state=/tmp/partial.state --cpu=0"
        run(bench, "created", f"zblk create --slots={slots} --seed={bench.seed} {state}")
        for name, manner in (
            ("blocks", f"--io-bytes={BLOCK_BYTES}"),
            ("batches", "--batch=16"),
            ("odd-pieces", f"--batch=15 --io-bytes={7 * BLOCK_BYTES}"),
        ):
            report = run(bench, name, f"zblk write --mix=mixed {manner} {state}")
            zram.check_accounting(bench, name, device, report)
            run(bench, f"{name}-read-whole", f"zblk verify {state}")
            run(bench, f"{name}-read-alike", f"zblk verify {manner} {state}")
            bench.checkpoint(name)
        if page_bytes(guest) > BLOCK_BYTES:
            # What a discard covers in part only cannot be freed, and stays.
            freed = device.io_stat()[3]
            report = run(bench, "holes", f"zblk discard --batch=5 --edge={BLOCK_BYTES} {state}")
            zram.expect(
                bench, "accounting/holes/notify_free", freed + report.number("discards"), device.io_stat()[3]
            )
            report = run(bench, "inside", f"zblk discard --batch=2 --edge={3 * BLOCK_BYTES} {state}")
            zram.check_accounting(bench, "inside", device, report)
            run(bench, "holes-verified", f"zblk verify {state}")
            bench.checkpoint("holes")
        run(bench, "emptied", f"zblk discard {state}")
        zram.check_emptied(bench, "emptied", device)
        zram.check_io_errors(bench, "all", device)
        bench.checkpoint("emptied")
    zram.check_residue(bench, "removed", pages_before)
