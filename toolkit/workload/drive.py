# SPDX-License-Identifier: GPL-2.0-only
"""Driving zsmalloc directly, by a kernel module of ours with pools of its own.

The probes that record what zram does to zsmalloc record this too, so that the model replays
it, and the class tables of the module's pools are judged like any others.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from toolkit.errors import CommandError, GuestError, HostError
from toolkit.workload import Bench, modules, zram

_DIRECTORY = "/sys/kernel/debug/zsdrive"
# What a floor may ask for.
_COUNTERS = (
    "allocations",
    "frees",
    "writes",
    "reads",
    "compactions",
    "pools",
    "smallest",
    "largest",
    "huge",
    "refusals",
    "bytes_written",
    "bytes_verified",
)


@dataclass(frozen=True)
class Driver:
    """The module, loaded."""

    bench: Bench

    def command(self, *, threads: int, operations: int, objects: int) -> str:
        """The command that runs a program of that many operations by each thread, seeded by the bench.

        Each thread has room for `objects` objects; what it does not free at the end stays until `end`.
        """
        line = f"seed={self.bench.seed} threads={threads} operations={operations} objects={objects}"
        return f"echo '{line}' >{_DIRECTORY}/run"

    def run(self, *, threads: int, operations: int, objects: int) -> None:
        command = self.command(threads=threads, operations=operations, objects=objects)
        self.bench.guest.execute(command, deadline=self.bench.deadline)

    def end(self, label: str) -> None:
        """Verify and free what is left, destroy the pools, and judge what the module told."""
        self.bench.guest.execute(f"echo end >{_DIRECTORY}/run", deadline=self.bench.deadline)
        told: Mapping[str, int] = json.loads(self.bench.guest.read(f"{_DIRECTORY}/result"))
        for counter in _COUNTERS:
            self.bench.count(counter, told[counter])
        self._none(
            f"content/{label}", told["mismatches"], "wrong objects", "each byte follows from its owner"
        )
        self._none(
            f"requests/{label}", told["failures"], "wrong answers", "what fits is given, the rest refused"
        )
        self._none(
            f"residue/{label}", told["leaks"], "pools with pages", "a pool without objects has no page"
        )
        self.bench.check(
            f"frees/{label}",
            told["allocations"] == told["frees"],
            expected=told["allocations"],
            seen=told["frees"],
            because="all that was allocated is freed at the end",
        )

    def _none(self, name: str, seen: int, what: str, because: str) -> None:
        self.bench.check(name, seen == 0, expected=f"no {what}", seen=f"{seen} {what}", because=because)


@contextlib.contextmanager
def loaded(bench: Bench) -> Iterator[Driver]:
    """The module, built for the kernel that runs and loaded into it, removed at the end."""
    before = zram.nr_zspages(bench.guest)
    modules.insert(bench, "zsdrive")
    try:
        yield Driver(bench)
    except (GuestError, HostError):
        # A guest that is in trouble already must not hide by which error it got there.
        with contextlib.suppress(CommandError, GuestError):
            bench.guest.execute("rmmod zsdrive", deadline=bench.deadline)
        raise
    bench.guest.execute("rmmod zsdrive", deadline=bench.deadline)
    zram.check_residue(bench, "removed", before)
