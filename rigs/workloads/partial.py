# SPDX-License-Identifier: GPL-2.0-only
"""Requests for many pages, and for parts of pages where pages are larger than 4 KiB."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import page_bytes

DISK_BYTES = 4 << 20
# zram's own logical block, by its ZRAM_LOGICAL_BLOCK_SIZE: a part of larger pages.
BLOCK_BYTES = 4096


@workload(
    suites=["full"],
    deadline_s=180,
    single_threaded=True,
    machine="single",
    needs=["ZRAM"],
    floors={"writes": 512, "bytes_verified": 3 * DISK_BYTES},
)
def exercise(bench: Bench) -> None:
    """Write and read a zram disk by the block and by the dozen, from one thread."""
    guest = bench.guest
    memory.keep_quiet(guest)
    with zram.known_disk(bench, DISK_BYTES, "--cpu=0") as disk:
        for name, manner in (
            ("blocks", f"--io-bytes={BLOCK_BYTES}"),
            ("batches", "--batch=16"),
            ("odd-pieces", f"--batch=15 --io-bytes={7 * BLOCK_BYTES}"),
        ):
            report = disk.run(name, f"write --mix=mixed {manner}")
            zram.check_accounting(bench, name, disk.device, report)
            disk.run(f"{name}-read-whole", "verify")
            disk.run(f"{name}-read-alike", f"verify {manner}")
            bench.checkpoint(name)
        if page_bytes(guest) > BLOCK_BYTES:
            # What a discard covers in part only cannot be freed, and stays.
            freed = disk.device.io_stat()[3]
            report = disk.run("holes", f"discard --batch=5 --edge={BLOCK_BYTES}")
            zram.expect(
                bench,
                "accounting/holes/notify_free",
                freed + report.number("discards"),
                disk.device.io_stat()[3],
            )
            report = disk.run("inside", f"discard --batch=2 --edge={3 * BLOCK_BYTES}")
            zram.check_accounting(bench, "inside", disk.device, report)
            disk.run("holes-verified", "verify")
            bench.checkpoint("holes")
        disk.empty()
