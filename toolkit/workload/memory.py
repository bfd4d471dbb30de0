# SPDX-License-Identifier: GPL-2.0-only
"""The guest's memory as a whole: what is free, what was swapped and moved, and when compaction runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from toolkit.errors import CommandError, HostError
from toolkit.rig.guest import Guest
from toolkit.workload import Bench, modules
from toolkit.workload.programs import Report, run

COMPACT = "/proc/sys/vm/compact_memory"
# Whether compaction moves unevictable pages, too.
COMPACT_UNEVICTABLE = "/proc/sys/vm/compact_unevictable_allowed"
# Whoever reads it, or writes to it, has the kernel fold its per-CPU counters, so that others are
# exact (since 4.7, SMP only).  It holds nothing.
STAT_REFRESH = "/proc/sys/vm/stat_refresh"
BLOCKS = "/sys/devices/system/memory"
# Takes each block of some memory offline and online again, {seconds} long and once at least.
# A page that somebody holds for a moment stops it, so a block that is refused is tried again.
# The kernel itself goes on trying for ever (offline_pages(), mm/memory_hotplug.c), until a signal.
# Prints how often it was done, and the blocks that were refused.
_CYCLE = """
cd {blocks}
done=0 refused='' until=$(( $(cut -d. -f1 /proc/uptime) + {seconds} ))
while :; do
    for block in $(grep {those} '^Movable' memory*/valid_zones | cut -d/ -f1); do
        tries={tries}
        while [ $tries -gt 0 ] && ! timeout {patience_s} sh -c "echo offline 2>/dev/null >$block/state"; do
            tries=$((tries - 1)); sleep 0.1
        done
        if [ $tries -gt 0 ]; then
            done=$((done + 1)); echo {online} >$block/state || {unless}
        else
            refused="$refused $block"
        fi
    done
    [ $(cut -d. -f1 /proc/uptime) -lt $until ] || break
    sleep {pause_s}
done
echo '{{"offlined": '$done', "refused": "'$refused'"}}'
"""
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


def validate_slabs(bench: Bench) -> None:
    """Have SLUB look at all it has for kmalloc(): the kernel complains of what was written beyond an object,
    or to one that is free.

    CommandError on a machine where SLUB does not look after those caches (slub_debug=kmalloc-*).
    """
    bench.guest.execute(
        "for cache in /sys/kernel/slab/kmalloc-*; do echo 1 >$cache/validate || exit 1; done",
        deadline=bench.deadline,
    )


@contextlib.contextmanager
def scattered(bench: Bench, mib: int, *, locked: bool = False, node: int | None = None) -> Iterator[None]:
    """Of so much memory, of that node if any, half are what is allocated meanwhile: pages that compaction
    comes to, and finds a place for.  The other half is unevictable if it is `locked`."""
    of_node = "" if node is None else f" --node={node}"
    command = f"scatter --mib={mib}{' --locked' if locked else ''}{of_node}"
    process = run(bench, "scattered", command).number("process")
    yield
    ended = f"kill {process} && while [ -e /proc/{process} ]; do sleep 0.01; done"
    bench.guest.execute(ended, deadline=bench.deadline)


def swapper(bench: Bench, *, mib: int, left_mib: int, children: int = 0) -> str:
    """A command that fills so much memory where so much is left, has it swapped out, and looks at it."""
    lock_mib = max(0, available_mib(bench.guest) - left_mib)
    return (
        f"swapper --mib={mib} --lock-mib={lock_mib} --seed={bench.seed}"
        f" --threads=2 --rounds=1 --children={children}"
    )


def keep_quiet(guest: Guest) -> None:
    """Have kcompactd act only when a page cannot be allocated.

    Proactive compaction would migrate zspages behind a single-threaded workload's
    back, and the class table would no longer follow from what the workload did.
    """
    guest.write("/proc/sys/vm/compaction_proactiveness", "0")


def allow_huge_pages(guest: Guest) -> None:
    """Give huge pages to who asks for them: none are by default in a machine of that size."""
    for name in ("enabled", "defrag"):
        guest.write(f"/sys/kernel/mm/transparent_hugepage/{name}", "madvise")


def block_bytes(guest: Guest) -> int:
    """How much memory goes offline or comes online at a time."""
    return int(guest.read(f"{BLOCKS}/block_size_bytes"), 16)


def cycle_kernel_blocks(bench: Bench, *, patience_s: int) -> None:
    """Try to take each block offline that is not for what can be moved only, twice.

    Most have what cannot be moved in their middle, and then at their end: what else of them is isolated
    before that is found goes back.
    """
    for label, last in (("kernel_blocks", 0), ("kernel_blocks_last", 1)):
        modules.insert(bench, "keepmem", f"block={block_bytes(bench.guest)} last={last}")
        report = run(bench, label, cycle_blocks(tries=1, patience_s=patience_s, movable=False))
        bench.guest.execute("rmmod keepmem", deadline=bench.deadline)
        bench.count(label, len(refused_blocks(report)))


def add_removable(bench: Bench) -> None:
    """Have the memory online, for what can be moved, that the machine has as removable; HostError if
    the kernel's blocks of memory are too large for that.

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
    block = block_bytes(guest)
    if start % block or end % block:
        raise HostError(
            f"this kernel adds memory in blocks of {block >> 20} MiB, and the machine's"
            f" {end - start >> 20} MiB from {start:#x} on are none",
            hint="removable_mib in its file of rigs/",
        )
    modules.insert(bench, "addmem", f"start={start:#x} size={end - start:#x}")
    guest.execute(
        f"for state in $(grep -l offline {BLOCKS}/memory*/state); do"
        " echo online_movable >$state || exit 1; done",
        deadline=bench.deadline,
    )


def cycle_blocks(
    seconds: int = 0,
    *,
    tries: int,
    patience_s: int = 60,
    pause_s: int = 0,
    may_stay: bool = False,
    movable: bool = True,
) -> str:
    """A command that takes each block of movable memory offline and online again, or of all other.

    It goes on for so many seconds, through all blocks once at least, with a pause after each time, and
    prints a report: how many went `offlined`, and which were `refused` so many times, or after `patience_s`
    each.  A block must come online again, unless it `may_stay`: where a page is poisoned it does since 6.2
    (memory_block_online(), drivers/base/memory.c).
    """
    return _CYCLE.format(
        blocks=BLOCKS,
        seconds=seconds,
        tries=tries,
        patience_s=patience_s,
        pause_s=pause_s,
        unless="true" if may_stay else "exit 1",
        those="-l" if movable else "-L",
        online="online_movable" if movable else "online_kernel",
    )


def refused_blocks(report: Report) -> set[str]:
    """The blocks that stayed online in what `cycle_blocks` did."""
    return set(report.values["refused"].split())


def fill_refused_blocks(bench: Bench, empty: Report) -> None:
    """Fill so much memory as stayed online, for it would be used first: all else was freed last."""
    guest = bench.guest
    block_mib = block_bytes(guest) >> 20
    guest.execute(
        "dd if=/dev/zero of=/dev/shm/ballast bs=1M"
        f" count={len(refused_blocks(empty)) * block_mib} 2>/dev/null",
        deadline=bench.deadline,
    )


def check_blocks(bench: Bench, label: str, report: Report, empty: Report) -> None:
    """Check that every block went offline that did so while it was empty."""
    stuck = refused_blocks(empty)
    bench.check(
        f"offline/{label}",
        refused_blocks(report) <= stuck,
        expected=f"{empty.number('offlined')} blocks, but for {sorted(stuck) or 'none'}",
        seen=f"{report.number('offlined')}, but for {sorted(refused_blocks(report)) or 'none'}",
        because="what could be taken offline while it was empty can be again: all in it can be moved",
    )
