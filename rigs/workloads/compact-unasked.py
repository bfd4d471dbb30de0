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
_WANT = f"""
dd if={{disk}} of=/dev/null bs=1M 2>/dev/null
dd if=/dev/zero of=/dev/null bs={2 * WANTED}M count={CLEARED} 2>/dev/null
"""
HUGE = "/sys/kernel/mm/transparent_hugepage"
PROACTIVENESS = "/proc/sys/vm/compaction_proactiveness"
NODE = "/sys/devices/system/node/node0/compact"
# Blocks that are free then: kcompactd is asked for one, and who compacts all makes this many at least.
ONE, MANY = 1, 8
PATIENCE_S = 30
AGAIN_S = 3


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
                expected = _free_blocks(bench) + gain
                compact(bench, disk.device, expected)
                # Larger pages make larger blocks: of those there are too few to tell.
                if page_bytes(guest) == 4096:
                    _check_blocks(bench, label, expected)
                memory.keep_quiet(guest)
            disk.settle(label)


def _want(bench: Bench, device: ZramDevice, expected: int) -> None:
    guest = bench.guest
    guest.write(f"{HUGE}/defrag", "defer")
    guest.write(f"{HUGE}/enabled", "always")
    for _ in range(TRIES):
        guest.execute(_WANT.format(disk=device.device), deadline=bench.deadline)
        if _comes_to(bench, expected, within_s=AGAIN_S) >= expected:
            break
    guest.write(f"{HUGE}/enabled", "never")


def _be_proactive(bench: Bench, _device: ZramDevice, _expected: int) -> None:
    bench.guest.write(PROACTIVENESS, "100")


def _compact_node(bench: Bench, _device: ZramDevice, _expected: int) -> None:
    bench.guest.write(NODE, "1")


def _check_blocks(bench: Bench, label: str, expected: int) -> None:
    seen = _comes_to(bench, expected, within_s=PATIENCE_S)
    bench.check(
        f"compaction/{label}",
        seen >= expected,
        expected=f"{expected} free blocks of order {ORDER}, or more",
        seen=seen,
        because="what is in the way can be moved, zspages too",
    )


def _comes_to(bench: Bench, expected: int, *, within_s: float) -> int:
    """How many free blocks there are, as soon as they are as many as that, or when the time is over."""
    until_s = time.monotonic() + within_s
    while (seen := _free_blocks(bench)) < expected and time.monotonic() < until_s:
        time.sleep(0.2)
    return seen


def _free_blocks(bench: Bench) -> int:
    zones = buddyinfo.parse(bench.guest.read(buddyinfo.PATH).decode())
    return sum(zone.blocks(ORDER) for zone in zones)
