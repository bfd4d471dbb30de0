# SPDX-License-Identifier: GPL-2.0-only
"""Modules of memory that the host plugs into a running guest, and pulls out again.

By ACPI, on a machine with pluggable_mib: the guest is asked by an interrupt, and whether a module
can go is its kernel's decision (acpi_scan_hot_remove() of drivers/acpi/scan.c), after everything in
it went elsewhere.  Processors are not plugged in: a guest that QEMU 7.2 emulates hangs soon after.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from toolkit.deadline import Deadline
from toolkit.errors import CommandError, HangError, HostError
from toolkit.rig.qemu_guest import Ending, QemuGuest
from toolkit.workload import Bench, memory

_POLL_S = 0.02
# The guest's words on a request (_OST of the ACPI specification, 6.3.5): it is about an ejection, and
# all is well or going on.
_EJECTION = 3
_NOT_REFUSED = (0x00, 0x84)


@runtime_checkable
class Pluggable(Protocol):
    """What this takes of a bench beyond what others do."""

    @property
    def guest(self) -> QemuGuest: ...


@dataclass(frozen=True)
class Slots:
    """What can be plugged into a guest; each device has a name, which the caller chooses."""

    guest: QemuGuest
    deadline: Deadline

    def plug_memory(self, name: str, mib: int) -> None:
        """A module of so many of the guest's memory blocks, all of it online for what can be moved."""
        before = self._blocks()
        self.guest.qmp.execute("object-add", qom_type="memory-backend-ram", id=f"{name}-ram", size=mib << 20)
        self.guest.qmp.execute("device_add", driver="pc-dimm", id=name, memdev=f"{name}-ram")
        block_mib = memory.block_bytes(self.guest) >> 20
        for block in self._new(before, mib // block_mib):
            self.guest.write(f"{memory.BLOCKS}/{block}/state", "online_movable")

    def pull_memory(self, name: str) -> None:
        """Ask the guest for a module, and take it; CommandError if the guest keeps it."""

        def there() -> bool:
            modules = self.guest.qmp.execute("query-memory-devices")
            return any(module["data"]["id"] == name for module in modules)

        refused = self._refusals(name)
        self.guest.qmp.execute("device_del", id=name)
        while there():
            if self._refusals(name) > refused:
                raise CommandError(f"device_del {name}", 1, "the guest did not give it")
            if self.deadline.passed:
                raise HangError(f"the guest neither gave nor kept {name}, which it was asked for")
            if self.guest.ending() is not Ending.RUNNING:
                # That says why.
                self.guest.execute("true", deadline=self.deadline)
            time.sleep(_POLL_S)
        self.guest.qmp.execute("object-del", id=f"{name}-ram")

    def _refusals(self, name: str) -> int:
        said = (event["data"]["info"] for event in self.guest.qmp.events("ACPI_DEVICE_OST"))
        return sum(
            one.get("device") == name and one["source"] == _EJECTION and one["status"] not in _NOT_REFUSED
            for one in said
        )

    def _new(self, before: frozenset[str], count: int) -> frozenset[str]:
        """The blocks of memory that appeared, once they are so many."""
        while not self.deadline.passed:
            new = self._blocks() - before
            if len(new) >= count:
                return new
            time.sleep(_POLL_S)
        raise HangError("the guest did not see the memory that was plugged in")

    def _blocks(self) -> frozenset[str]:
        listed = self.guest.execute(f"cd {memory.BLOCKS}; ls -d memory[0-9]*", deadline=self.deadline).text
        return frozenset(listed.split())


def slots(bench: Bench) -> Slots:
    """The slots of a bench's guest."""
    if not isinstance(bench, Pluggable):
        raise HostError("only a guest in QEMU has slots")
    return Slots(bench.guest, bench.deadline)
