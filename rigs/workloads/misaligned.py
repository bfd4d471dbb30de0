# SPDX-License-Identifier: GPL-2.0-only
"""Direct I/O from buffers that start inside a page, so that no segment is a whole page.

In no suite, for it fails on stock kernels with 4 KiB pages, as run on 6.1.192: zram's
is_partial_io() is constantly false there, so each segment is taken for a whole page that
starts at offset 0.  What is written is not what was in the buffer, and a read overwrites
memory around it.  The block layer lets such buffers through to every device that
declares no dma_alignment of its own (the default is 511), and zram declares none.
"""

from toolkit.workload import Bench, memory, workload, zram

DISK_BYTES = 4 << 20
# A sector: what a block device takes by default, and zram says nothing else.
OFFSET_BYTES = 512


@workload(
    suites=[],
    deadline_s=180,
    single_threaded=True,
    machine="single",
    needs=["ZRAM"],
    floors={"writes": 512, "bytes_verified": 3 * DISK_BYTES},
)
def exercise(bench: Bench) -> None:
    """Write and read a zram disk from buffers that no page boundary starts, from one thread."""
    guest = bench.guest
    memory.keep_quiet(guest)
    with zram.known_disk(bench, DISK_BYTES, "--cpu=0") as disk:
        for name, manner in (
            ("offset", f"--misalign={OFFSET_BYTES}"),
            ("offset-batched", f"--misalign={OFFSET_BYTES} --batch=16"),
            ("offset-far", f"--misalign={7 * OFFSET_BYTES}"),
        ):
            report = disk.run(name, f"write --mix=mixed {manner}")
            zram.check_accounting(bench, name, disk.device, report)
            disk.run(f"{name}-read-whole", "verify")
            disk.run(f"{name}-read-alike", f"verify {manner}")
            bench.checkpoint(name)
        disk.empty()
