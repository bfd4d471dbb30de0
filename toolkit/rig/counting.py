# SPDX-License-Identifier: GPL-2.0-only
"""Executed guest instructions per operation: exact, on an unmodified kernel, whatever the host is busy with.

A plugin of QEMU counts them (rigs/plugin/count.c).  The guest has one processor, whose time
follows from its instructions, and goes through a script alone.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolkit import places, run
from toolkit.deadline import Deadline
from toolkit.errors import CrashError, HangError, HostError
from toolkit.rig import qemu as qemus
from toolkit.rig import recording
from toolkit.rig.qemu import Counter, Setup
from toolkit.rig.recording import Step
from toolkit.store import Store

# The function of each operation; zram's is told apart by what it calls.
FUNCTIONS: Mapping[str, str] = {
    "alloc": "zs_malloc",
    "free": "zs_free",
    "map": "zs_map_object",
    "unmap": "zs_unmap_object",
    "compact": "zs_compact",
    "isolate": "zs_page_isolate",
    "migrate": "zs_page_migrate",
    "zram": "zram_bvec_rw",
}
OPERATIONS = ("alloc", "free", "map", "unmap", "read", "write", "compact", "isolate", "migrate")

_ZBLK = "--device=/dev/zram0 --state=/tmp/count.state"
_COMPACT = "/proc/sys/vm/compact_memory"
SCRIPT: tuple[str, ...] = (
    "echo 0 >/proc/sys/vm/compaction_proactiveness",
    "echo $((2048 * 4096)) >/sys/block/zram0/disksize",
    f"zblk create --slots=2048 --seed=1 {_ZBLK}",
    f"zblk write --mix=spread {_ZBLK}",
    f"zblk verify {_ZBLK}",
    f"zblk discard --step=2 {_ZBLK}",
    "echo 1 >/sys/block/zram0/compact",
    f"zblk write --mix=mixed --step=3 {_ZBLK}",
    f"zblk discard --from=1 --step=4 {_ZBLK}",
    "echo 1 >/sys/block/zram0/compact",
    f"fragment --mib=64 --seconds=1 --hold-ms=50 --cycles=2 --compact={_COMPACT}",
    f"zblk verify {_ZBLK}",
    f"zblk discard {_ZBLK}",
)


@dataclass(frozen=True)
class Cost:
    """The instructions of one operation's calls, with what interrupted them."""

    calls: int
    median: float
    # 5 and 95 of 100 calls took fewer.
    low: float
    high: float


def plugin(store: Store, *, deadline: Deadline) -> Path:
    """The plugin, compiled for this host."""
    source = places.declared("rigs") / "plugin" / "count.c"

    def make(into: Path) -> None:
        argv = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-fvisibility=hidden"]
        run.run([*argv, "-o", into / "count.so", source], deadline=deadline)

    return store.publish("plugin", hashlib.sha256(source.read_bytes()).hexdigest(), make) / "count.so"


def addresses(system_map: str) -> dict[str, int]:
    """Where the function of each operation begins, of those that the kernel has."""
    found = {}
    for line in system_map.splitlines():
        address, _kind, symbol = line.split()
        name, _, suffix = symbol.partition(".")
        for operation, function in FUNCTIONS.items():
            if name == function and not suffix.startswith("cold") and not suffix.endswith(".cold"):
                found[operation] = int(address, 16)
    return found


def count(
    setup: Setup, system_map: Path, directory: Path, store: Store, *, deadline: Deadline
) -> dict[str, Cost]:
    """What each operation costs in a guest; CrashError or HangError if it does not come to its end."""
    where = addresses(system_map.read_text(encoding="utf-8"))
    counter = Counter(plugin(store, deadline=deadline), directory / "calls", tuple(where.values()))
    steps = [Step(command, b"", 0) for command in SCRIPT]
    scripted = recording.scripted(setup, steps, directory / "initramfs")
    with qemus.running(scripted, directory, tape=counter) as qemu:
        recording.follow(qemu, directory / "console.log", deadline)
    console = (directory / "console.log").read_text(encoding="utf-8", errors="replace")
    failed = recording.failure(console, [0] * len(steps))
    if failed is not None:
        raise (CrashError if failed.report else HangError)(
            failed.what, detail=failed.report or console[-2000:]
        )
    costs = summarise((directory / "calls").read_text(encoding="utf-8"), tuple(where))
    never = [name for name in OPERATIONS if name not in costs]
    if never:
        raise HostError(f"nothing was counted of: {', '.join(never)}", hint="a symbol this kernel has not?")
    return costs


def summarise(calls: str, names: Sequence[str]) -> dict[str, Cost]:
    """The costs in the plugin's words; `names` in the order in which it was given the functions."""
    taken: dict[str, list[int]] = defaultdict(list)
    inside: set[str] = set()
    for line in calls.splitlines():
        index, instructions = line.split()
        name = names[int(index)]
        if name == "zram":
            # One that allocated was a write, one that only mapped a read; the rest are same-filled pages.
            kind = "write" if "alloc" in inside else "read" if "map" in inside else ""
            inside.clear()
            if not kind:
                continue
            name = kind
        else:
            inside.add(name)
        taken[name].append(int(instructions))
    costs = {}
    for name, values in taken.items():
        low, median, high = np.percentile(values, (5, 50, 95))
        costs[name] = Cost(len(values), float(median), float(low), float(high))
    return costs
