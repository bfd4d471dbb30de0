# SPDX-License-Identifier: GPL-2.0-only
"""A guest that answers from memory: commands by a function, files from a dictionary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from toolkit.deadline import Deadline
from toolkit.errors import CommandError
from toolkit.kernel import arch
from toolkit.kernel.arch import Arch
from toolkit.rig.guest import Output

Answer = tuple[int, bytes]


@dataclass
class FakeGuest:
    """`answer` gives a command's status and output; what was asked and written is kept."""

    answer: Callable[[str], Answer] = lambda command: (0, b"")
    files: dict[str, bytes] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    stdin: list[bytes] = field(default_factory=list)
    written: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def arch(self) -> Arch:
        return arch.load("x86_64")

    def execute(
        self, command: str, *, deadline: Deadline, stdin: bytes = b"", ok: Sequence[int] | None = (0,)
    ) -> Output:
        assert not deadline.passed
        self.commands.append(command)
        self.stdin.append(stdin)
        status, out = self.answer(command)
        if ok is not None and status not in ok:
            raise CommandError(command, status, out.decode())
        return Output(command, status, out, b"")

    def read(self, path: str) -> bytes:
        return self.files[path]

    def write(self, path: str, data: bytes | str) -> None:
        self.written.append((path, data.encode() if isinstance(data, str) else data))

    def console(self) -> str:
        return ""
