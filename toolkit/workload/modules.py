# SPDX-License-Identifier: GPL-2.0-only
"""Kernel modules of ours, rigs/guest/modules/: built for the kernel that runs, and loaded into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from toolkit.errors import HostError
from toolkit.kernel.internals import Internals
from toolkit.workload import Bench


@runtime_checkable
class Equipped(Protocol):
    """What this takes of a bench beyond what others do."""

    @property
    def internals(self) -> Internals: ...


def insert(bench: Bench, name: str, parameters: str = "") -> None:
    """Load a module with parameters as insmod takes them; CommandError if the kernel refuses it."""
    if not isinstance(bench, Equipped):
        raise HostError("only a kernel that was built here can have a module built for it")
    module = bench.internals.modules() / f"{name}.ko"
    file = f"/tmp/{module.name}"
    bench.guest.execute(
        f"cat >{file} && insmod {file} {parameters} && rm {file}",
        stdin=module.read_bytes(),
        deadline=bench.deadline,
    )


@contextmanager
def memdisk(bench: Bench, mib: int, *, latency_us: int = 100) -> Iterator[str]:
    """A disk in the guest's memory whose requests end in an interrupt, that long after they began."""
    insert(bench, "memdisk", f"mib={mib} latency_us={latency_us}")
    yield "/dev/memdisk"
    bench.guest.execute("rmmod memdisk", deadline=bench.deadline)
