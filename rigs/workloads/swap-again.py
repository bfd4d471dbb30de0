# SPDX-License-Identifier: GPL-2.0-only
"""What is in the swap cache has a place on the swap device that it is written to again, or is refused at."""

from toolkit.workload import Bench, memory, modules, workload, zram, zswap
from toolkit.workload.programs import page_bytes, run

MIB = 8
SWAP_MIB = 32
# Less than what is paged out takes, and more than nothing.
LIMIT_MIB = 2
HUGE = "thp_swpout"


@workload(
    suites=["quick", "full"],
    deadline_s=240,
    single_threaded=False,
    needs=["ZRAM", "SWAP", "ZSWAP", "TRANSPARENT_HUGEPAGE", "MODULES"],
    floors={"bytes_verified": 6 * MIB << 20, "cached": 64, "refused": 64, "mm_migrate_pages": 1},
)
def exercise(bench: Bench) -> None:
    """Swap out again what is in the swap cache, changed, moved, or refused by its zram disk or zswap."""
    guest = bench.guest
    pages_before = zram.nr_zspages(guest)
    memory.allow_huge_pages(guest)
    huge = memory.counters(guest, HUGE)[HUGE]
    with zram.disk(guest, SWAP_MIB << 20) as device:
        with zram.swap(bench, device):
            header = device.mm_stat().orig_data_size
            _swap(bench, "moved", f"--between='echo 1 >{memory.COMPACT}'")
            _swap(bench, "huge", "--huge")
            # Zero lifts the limit: this one is a page.
            _swap(bench, "refused", f"--between='echo 1 >{device.sysfs}/mem_limit'")
            guest.write(f"{device.sysfs}/mem_limit", f"{LIMIT_MIB}M")
            _swap(bench, "refused-huge", "--huge")
            guest.execute(_reswap(bench, "--huge --leave"), deadline=bench.deadline)
            guest.write(f"{device.sysfs}/mem_limit", "0")
        bench.count("refused", device.io_stat()[1])
        whole = memory.counters(guest, HUGE)[HUGE] - huge
        # Where pages are larger, huge ones are larger than what is swapped here.
        if page_bytes(guest) == 4096:
            bench.check(
                "huge/swapped-out",
                whole > 0,
                expected="some huge pages as a whole",
                seen=whole,
                because="the swap device has room for them",
            )
        zram.check_swap_slots(bench, device, header)
        bench.checkpoint("off")
    zram.check_residue(bench, "removed", pages_before)

    zswap.enable(bench)
    with modules.memdisk(bench, SWAP_MIB) as disk:
        guest.execute(f"mkswap {disk} && swapon {disk}", deadline=bench.deadline)
        _swap(bench, "kept", "")
        _swap(bench, "given-up", f"--between='echo 0 >{zswap.PARAMETERS}/enabled'")
        guest.execute(f"swapoff {disk}", deadline=bench.deadline)
    zram.check_residue(bench, "given-up", pages_before)


def _swap(bench: Bench, label: str, options: str) -> None:
    report = run(bench, label, _reswap(bench, options))
    bench.count("cached", report.number("cached"))


def _reswap(bench: Bench, options: str) -> str:
    return f"reswap --mib={MIB} --seed={bench.seed} {options}"
