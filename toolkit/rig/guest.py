# SPDX-License-Identifier: GPL-2.0-only
"""What a guest looks like to a workload: a seam with a QEMU and a fake implementation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from toolkit.deadline import Deadline
from toolkit.kernel.arch import Arch


@dataclass(frozen=True)
class Output:
    """What a command in the guest left: its exit status and streams."""

    command: str
    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8", "replace")


class Guest(Protocol):
    """A running guest.  Every call raises a GuestError if the guest is gone or does not answer."""

    @property
    def arch(self) -> Arch: ...

    def execute(
        self, command: str, *, deadline: Deadline, stdin: bytes = b"", ok: Sequence[int] | None = (0,)
    ) -> Output:
        """Run a shell command; a status outside `ok` raises CommandError (None accepts all)."""
        ...

    def read(self, path: str) -> bytes:
        """The whole content of a file, of sysfs, procfs and debugfs too."""
        ...

    def write(self, path: str, data: bytes | str) -> None:
        """Write a file with one write(2), as sysfs attributes want it."""
        ...

    def console(self) -> str:
        """All that the serial console printed so far."""
        ...
