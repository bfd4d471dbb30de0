# SPDX-License-Identifier: GPL-2.0-only
"""What compaction makes of memory whose every block has zspages in it, pass by pass: free blocks by order."""

from toolkit.collect import buddyinfo
from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import page_bytes

DISK_BYTES = 108 << 20
# The disk is filled in so many pieces, between which a file grows: both have pages in every block.
PIECES = 128
FILE_KIB = 1024
FILE = "/tmp/grown"
PASSES = 4
# The order of a block of 2 MiB, where pages have 4 KiB.
ORDER = 9
# So many such blocks the file takes; all but a few of them were free after one pass, in 60 runs of 60.
FILE_BLOCKS = PIECES * FILE_KIB >> 11
TRACING = "/sys/kernel/tracing"
# What isolates a movable page, by its names, and zsmalloc's part of it: counted, not recorded.
_COUNT = f"""
cd {TRACING} && mkdir instances/counted
for name in isolate_movable_page isolate_movable_ops_page; do
    echo "p:counted/isolate_calls $name" 2>/dev/null >>kprobe_events && break
done
echo 'p:counted/isolate_reached zs_page_isolate' >>kprobe_events
echo 1 >instances/counted/events/counted/enable
"""
_COUNTED_ENOUGH = f"""
cd {TRACING} && cat kprobe_profile && echo 0 >instances/counted/events/counted/enable
rmdir instances/counted
echo '-:counted/isolate_calls' >>kprobe_events && echo '-:counted/isolate_reached' >>kprobe_events
"""
COUNTED = ("isolate_calls", "isolate_reached")


@workload(
    suites=["full"],
    deadline_s=300,
    single_threaded=True,
    needs=["ZRAM", "COMPACTION"],
    floors={
        "zs_page_migrate": 200,
        "isolate_calls": 200,
        "isolate_reached": 200,
        "bytes_verified": DISK_BYTES,
    },
)
def exercise(bench: Bench) -> None:
    """Compact memory that zspages are strewn over, and count the free blocks after each pass."""
    guest = bench.guest
    memory.keep_quiet(guest)
    with zram.known_disk(bench, DISK_BYTES) as disk:
        disk.fill_beside(FILE, pieces=PIECES, file_kib=FILE_KIB)
        bench.checkpoint("filled")
        guest.execute(f"rm {FILE}", deadline=bench.deadline)
        # Unevictable pages are those that mlock() keeps: zspages are none.
        guest.write(memory.COMPACT_UNEVICTABLE, "0")

        guest.execute(_COUNT, deadline=bench.deadline)
        blocks = [_free_blocks(bench, 0)]
        for turn in range(1, PASSES + 1):
            guest.write(memory.COMPACT, "1")
            blocks.append(_free_blocks(bench, turn))
        _count_calls(bench)
        bench.check(
            "compaction/blocks",
            blocks[-1] >= blocks[0],
            expected=f"{blocks[0]} or more",
            seen=", ".join(map(str, blocks[1:])),
            because="compaction joins free memory, and nothing else runs",
        )
        # Larger pages make larger blocks: of those no pass makes so many.
        if page_bytes(guest) == 4096:
            bench.check(
                "compaction/gained",
                blocks[1] - blocks[0] >= FILE_BLOCKS // 4,
                expected=f"{FILE_BLOCKS // 4} or more of the {FILE_BLOCKS} that the file had pages in",
                seen=blocks[1] - blocks[0],
                because="what is left in them are zspages, and those can be moved",
            )
        disk.settle("compacted")


def _free_blocks(bench: Bench, passes: int) -> int:
    """Count what is free after so many passes; returns the blocks of ORDER, larger ones by what they hold."""
    zones = buddyinfo.parse(bench.guest.read(buddyinfo.PATH).decode())
    single = sum(zone.free[0] for zone in zones)
    blocks = sum(zone.blocks(ORDER) for zone in zones)
    bench.count(f"free_pages_after_{passes}", sum(zone.pages for zone in zones))
    bench.count(f"order_0_after_{passes}", single)
    bench.count(f"order_{ORDER}_after_{passes}", blocks)
    return blocks


def _count_calls(bench: Bench) -> None:
    """Count how often the probed functions ran, and remove the probes."""
    for line in bench.guest.execute(_COUNTED_ENOUGH, deadline=bench.deadline).text.splitlines():
        name, hits, _missed = line.split()
        if name in COUNTED:
            bench.count(name, int(hits))
