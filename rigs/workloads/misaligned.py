# SPDX-License-Identifier: GPL-2.0-only
"""Direct I/O from buffers that start inside a page, so that no segment is a whole page.

In no suite, for it fails on stock kernels with 4 KiB pages, as run on 6.1.192: zram's
is_partial_io() is constantly false there, so each segment is taken for a whole page that
starts at offset 0.  What is written is not what was in the buffer, and a read overwrites
memory around it.  The block layer lets such buffers through to every device that
declares no dma_alignment of its own (the default is 511), and zram declares none.
"""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import page_bytes, run

DISK_BYTES = 4 << 20
# A sector: what a block device takes by default, and zram says nothing else.
OFFSET_BYTES = 512


@workload(
    suites=[],
    deadline_s=180,
    single_threaded=True,
    needs=["ZRAM"],
    floors={"writes": 512, "bytes_verified": 3 * DISK_BYTES},
)
def exercise(bench: Bench) -> None:
    """Write and read a zram disk from buffers that no page boundary starts, from one thread."""
    guest = bench.guest
    memory.keep_quiet(guest)
    pages_before = zram.nr_zspages(guest)
    slots = zram.slots_for(guest, DISK_BYTES)
    with zram.disk(guest, slots * page_bytes(guest)) as device:
        state = f"--device={device.device} --state=/tmp/misaligned.state --cpu=0"
        run(bench, "created", f"zblk create --slots={slots} --seed={bench.seed} {state}")
        for name, manner in (
            ("offset", f"--misalign={OFFSET_BYTES}"),
            ("offset-batched", f"--misalign={OFFSET_BYTES} --batch=16"),
            ("offset-far", f"--misalign={7 * OFFSET_BYTES}"),
        ):
            report = run(bench, name, f"zblk write --mix=mixed {manner} {state}")
            zram.check_accounting(bench, name, device, report)
            run(bench, f"{name}-read-whole", f"zblk verify {state}")
            run(bench, f"{name}-read-alike", f"zblk verify {manner} {state}")
            bench.checkpoint(name)
        run(bench, "emptied", f"zblk discard {state}")
        zram.check_emptied(bench, "emptied", device)
        zram.check_io_errors(bench, "all", device)
        bench.checkpoint("emptied")
    zram.check_residue(bench, "removed", pages_before)
