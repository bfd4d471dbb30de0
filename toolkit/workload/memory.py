# SPDX-License-Identifier: GPL-2.0-only
"""The guest's memory as a whole: what is free, what was swapped and moved, and when compaction runs."""

from __future__ import annotations

from toolkit.errors import CommandError
from toolkit.rig.guest import Guest
from toolkit.workload import Bench, modules

COMPACT = "/proc/sys/vm/compact_memory"
# Whoever reads it, or writes to it, has the kernel fold its per-CPU counters, so that others are
# exact (since 4.7, SMP only).  It holds nothing.
STAT_REFRESH = "/proc/sys/vm/stat_refresh"
BLOCKS = "/sys/devices/system/memory"
# The memory that there is, by the device tree (devicetree specification, 3.4): an address and a size.
_MEMORY_NODES = "/sys/firmware/devicetree/base/memory@*/reg"


def refresh(guest: Guest) -> None:
    """Fold in what each processor has counted for itself."""
    guest.write(STAT_REFRESH, "1")


def counters(guest: Guest, *names: str) -> dict[str, int]:
    """Those lines of /proc/vmstat, with what each CPU has counted for itself folded in."""
    refresh(guest)
    lines = guest.read("/proc/vmstat").decode().splitlines()
    found = {name: int(value) for name, _, value in (line.partition(" ") for line in lines) if name in names}
    for name in names:
        if name not in found:
            raise CommandError("cat /proc/vmstat", 0, f"no {name} in it: is its option configured?")
    return found


def available_mib(guest: Guest) -> int:
    """What can be allocated before the guest swaps, as MemAvailable estimates it."""
    for line in guest.read("/proc/meminfo").decode().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) >> 10
    raise CommandError("cat /proc/meminfo", 0, "no MemAvailable in it")


def keep_quiet(guest: Guest) -> None:
    """Have kcompactd act only when a page cannot be allocated.

    Proactive compaction would migrate zspages behind a single-threaded workload's
    back, and the class table would no longer follow from what the workload did.
    """
    guest.write("/proc/sys/vm/compaction_proactiveness", "0")


def add_removable(bench: Bench) -> None:
    """Have the memory online, for what can be moved, that the machine has as removable.

    arm64 takes no memory offline that it was booted with (prevent_bootmem_remove_notifier(),
    arch/arm64/mm/mmu.c): there the kernel was told of the rest only, and this is added, by a module of
    ours.  Elsewhere it is there since boot.
    """
    guest = bench.guest
    if not guest.arch.boot_memory_stays:
        return
    told = guest.execute(f"cat {_MEMORY_NODES}", deadline=bench.deadline).stdout
    end = int.from_bytes(told[:8], "big") + int.from_bytes(told[8:16], "big")
    known = [
        line for line in guest.read("/proc/iomem").decode().splitlines() if line.endswith(": System RAM")
    ]
    start = int(known[-1].split()[0].partition("-")[2], 16) + 1
    modules.insert(bench, "addmem", f"start={start:#x} size={end - start:#x}")
    guest.execute(
        f"for state in $(grep -l offline {BLOCKS}/memory*/state); do"
        " echo online_movable >$state || exit 1; done",
        deadline=bench.deadline,
    )
