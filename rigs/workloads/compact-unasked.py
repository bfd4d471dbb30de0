# SPDX-License-Identifier: GPL-2.0-only
"""Memory is compacted in the background: for a huge page that nobody waits for, to a measure, or a node's."""

import time

from toolkit.collect import buddyinfo
from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import page_bytes
from toolkit.workload.zram import ZramDevice

DISK_BYTES = 16 << 20
# What is neither scattered nor in use.
LEFT_MIB = 12
# The order of a block of 2 MiB, where pages have 4 KiB.
ORDER = 9
# Whoever wants so many huge pages gets small ones where there are none, and does not wait: it is left to
# kswapd, and to kcompactd once that has freed enough (kswapd_try_to_sleep() in mm/vmscan.c): here of the page
# cache.  They are held for as long as it takes to clear them so often; then it is tried again.
WANTED, CLEARED, TRIES = 8, 100, 10
WAKES = "compact_daemon_wake"
_WANT = f"""
wakes() ( grep {WAKES} /proc/vmstat )
before=$(wakes) tries={TRIES}
while [ $tries -gt 0 ] && [ "$(wakes)" = "$before" ]; do
    dd if={{disk}} of=/dev/null bs=1M
    dd if=/dev/zero of=/dev/null bs={2 * WANTED}M count={CLEARED}
    tries=$((tries - 1))
done 2>/dev/null
"""
HUGE = "/sys/kernel/mm/transparent_hugepage"
PROACTIVENESS = "/proc/sys/vm/compaction_proactiveness"
NODE = "/sys/devices/system/node/node0/compact"
# Blocks that are free then: kcompactd is asked for one, and who compacts all makes this many at least.
ONE, MANY = 1, 8
PATIENCE_S = 30


@workload(
    suites=["quick", "full"],
    deadline_s=300,
    single_threaded=False,
    machine="small",
    needs=["ZRAM", "COMPACTION", "NUMA", "TRANSPARENT_HUGEPAGE"],
    floors={"zs_page_migrate": 100, "bytes_verified": 3 * DISK_BYTES},
)
def exercise(bench: Bench) -> None:
    """Have memory compacted in the background, and a node's as a whole, zspages in the way."""
    guest = bench.guest
    guest.write(f"{HUGE}/khugepaged/defrag", "0")
    memory.keep_quiet(guest)
    with zram.known_disk(bench, DISK_BYTES) as disk:
        for label, compact, gain in (
            ("wanted", _want, ONE),
            ("proactive", _be_proactive, MANY),
            ("node", _compact_node, MANY),
        ):
            with memory.scattered(bench, memory.available_mib(guest) - LEFT_MIB):
                disk.run(f"filled-{label}", "write --mix=mixed --batch=16")
                before = _free_blocks(bench)
                compact(bench, disk.device)
                # Larger pages make larger blocks: of those there are too few to tell.
                if page_bytes(guest) == 4096:
                    _check_blocks(bench, label, before + gain)
                memory.keep_quiet(guest)
            disk.settle(label)


def _want(bench: Bench, device: ZramDevice) -> None:
    guest = bench.guest
    guest.write(f"{HUGE}/defrag", "defer")
    guest.write(f"{HUGE}/enabled", "always")
    guest.execute(_WANT.format(disk=device.device), deadline=bench.deadline)
    guest.write(f"{HUGE}/enabled", "never")


def _be_proactive(bench: Bench, _: ZramDevice) -> None:
    bench.guest.write(PROACTIVENESS, "100")


def _compact_node(bench: Bench, _: ZramDevice) -> None:
    bench.guest.write(NODE, "1")


def _check_blocks(bench: Bench, label: str, expected: int) -> None:
    """Some time later there are so many free blocks."""
    until = time.monotonic() + PATIENCE_S
    while (seen := _free_blocks(bench)) < expected and time.monotonic() < until:
        time.sleep(0.2)
    bench.check(
        f"compaction/{label}",
        seen >= expected,
        expected=f"{expected} free blocks of order {ORDER}, or more",
        seen=seen,
        because="what is in the way can be moved, zspages too",
    )


def _free_blocks(bench: Bench) -> int:
    zones = buddyinfo.parse(bench.guest.read(buddyinfo.PATH).decode())
    return sum(zone.blocks(ORDER) for zone in zones)
