# SPDX-License-Identifier: GPL-2.0-only
"""Pages that somebody holds are among those that are to be moved: they stay, and are given back."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import run

DISK_BYTES = 16 << 20
# The disk is filled in so many pieces, between which a file grows: when that is gone, compaction of 6.1 moves
# zspages.  That of 7.3 need not: the floor is what is asked of the pages that are pinned.
PIECES = 32
FILE_KIB = 512
FILE = "/tmp/grown"
PAGES = 128
SCATTERED_MIB = 64


@workload(
    suites=["quick", "full"],
    deadline_s=180,
    single_threaded=True,
    needs=["ZRAM", "COMPACTION", "MEMORY_FAILURE"],
    machine="single",
    floors={"mm_migrate_pages": 2 * PAGES, "bytes_verified": DISK_BYTES},
)
def exercise(bench: Bench) -> None:
    """Compact memory, and take pages out of use, while a pipe holds them, a zram disk beside them."""
    guest = bench.guest
    memory.keep_quiet(guest)
    with zram.known_disk(bench, DISK_BYTES) as disk:
        disk.fill_beside(FILE, pieces=PIECES, file_kib=FILE_KIB)
        guest.execute(f"rm {FILE}", deadline=bench.deadline)
        bench.checkpoint("filled")
        for label, options in (("private", ""), ("shared", "--shared")):
            _pin(bench, label, options)
            disk.settle(label)


def _pin(bench: Bench, label: str, options: str) -> None:
    """Compact memory while a pipe holds pages of such memory; they are moved afterwards."""
    compact = f"echo 1 >{memory.COMPACT}"
    # Compaction comes to them: they are low, and what is free is between what is higher.
    with memory.scattered(bench, SCATTERED_MIB):
        report = run(bench, label, f"pinned --pages={PAGES} {options} --soft-offline --meanwhile='{compact}'")
    refused, moved = report.number("refused"), report.number("moved")
    bench.check(
        f"{label}/refused",
        refused == PAGES,
        expected=f"all {PAGES} refused",
        seen=refused,
        because="a page that has more users than are known cannot be moved",
    )
    bench.check(
        f"{label}/counted",
        refused <= report.number("counted") < 2 * PAGES,
        expected=f"{refused} pages counted as failed, or a few more",
        seen=report.number("counted"),
        because="a page that cannot be moved is counted once, however often that is tried",
    )
    bench.check(
        f"{label}/moved",
        moved >= PAGES // 2,
        expected=f"{PAGES // 2} or more of {PAGES} moved",
        seen=moved,
        because="nobody holds them any more",
    )
