# SPDX-License-Identifier: GPL-2.0-only
"""A Bench and a Guest without a guest: programs run here, zram is a file and some arithmetic."""

from __future__ import annotations

import errno
import functools
import json
import os
import random
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.deadline import Deadline
from toolkit.errors import CommandError
from toolkit.kernel import arch
from toolkit.kernel.arch import Arch
from toolkit.rig.guest import Output
from toolkit.run import run

PAGE = os.sysconf("SC_PAGESIZE")
# What is compressed to more counts as huge: within what every chain size allows.
HUGE_BYTES = PAGE * 4 // 5


@dataclass
class HostGuest:
    """Runs commands on this host, with /dev, /sys and /tmp below `root`.

    Its zram devices are sparse files; mm_stat is computed from what the file holds.
    It holds the most pages that it ever needed until it is emptied or compacted.  What
    a test wants to be wrong: `lies` is added to mm_stat's columns, `leaks` pages stay of
    every device, `compaction_frees` nothing, and `sabotage` is run before each command
    that its key is in.
    """

    root: Path
    programs: Path
    lies: Sequence[int] = (0,) * 8
    leaks: int = 0
    compaction_frees: bool = True
    sabotage: Mapping[str, str] = field(default_factory=dict)
    devices: list[int] = field(default_factory=list)
    notify_free: int = 0
    held: Counter[int] = field(default_factory=Counter)
    compacted: Counter[int] = field(default_factory=Counter)
    leaked: int = 0

    def __post_init__(self) -> None:
        for directory in ("dev", "sys/block", "tmp"):
            (self.root / directory).mkdir(parents=True)

    @property
    def arch(self) -> Arch:
        return arch.load(arch.names()[0])

    def execute(
        self, command: str, *, deadline: Deadline, stdin: bytes = b"", ok: Sequence[int] | None = (0,)
    ) -> Output:
        for pattern, before in self.sabotage.items():
            if pattern in command:
                run(["sh", "-c", self._here(before)], deadline=deadline, cwd=self.root)
        environment = {"PATH": f"{self.programs}:{os.environ['PATH']}"}
        done = run(
            ["sh", "-c", self._here(command)], deadline=deadline, env=environment, stdin=stdin, ok=None
        )
        if ok is not None and done.status not in ok:
            raise CommandError(command, done.status, done.stdout + done.stderr)
        self._count_discards(done.stdout)
        return Output(command, done.status, done.stdout.encode(), done.stderr.encode())

    def read(self, path: str) -> bytes:
        if path == "/sys/class/zram-control/hot_add":
            return self._add()
        if path == "/proc/self/auxv":
            return Path(path).read_bytes()
        if path == "/proc/vmstat":
            held = sum(self._mm_stat(number)[2] // PAGE for number in self.devices)
            return f"nr_free_pages 1\nnr_zspages {held + self.leaked}\n".encode()
        if found := re.fullmatch(r"/sys/block/zram(\d+)/(mm_stat|io_stat)", path):
            if found[2] == "io_stat":
                return f"0 0 0 {self.notify_free}\n".encode()
            lied = zip(self._mm_stat(int(found[1])), self.lies, strict=True)
            return " ".join(str(value + lie) for value, lie in lied).encode() + b"\n"
        text = (self.root / path.lstrip("/")).read_bytes()
        if path.endswith(".out"):
            self._count_discards(text.decode())
        return text

    def write(self, path: str, data: bytes | str) -> None:
        text = data.decode() if isinstance(data, bytes) else data
        if path == "/sys/class/zram-control/hot_remove":
            self.devices.remove(int(text))
            self._disk(int(text)).unlink()
            self.leaked += self.leaks
        elif found := re.fullmatch(r"/sys/block/zram(\d+)/disksize", path):
            os.truncate(self._disk(int(found[1])), int(text))
        elif found := re.fullmatch(r"/sys/block/zram(\d+)/reset", path):
            os.truncate(self._disk(int(found[1])), 0)
        elif found := re.fullmatch(r"/sys/block/zram(\d+)/compact", path):
            self._compact(int(found[1]))
        elif path == "/proc/sys/vm/drop_caches":
            for number in self.devices:
                self._compact(number)
        elif not path.startswith(("/proc/", "/sys/")):
            raise AssertionError(f"unexpected write to {path}")

    def console(self) -> str:
        return ""

    def _here(self, command: str) -> str:
        # A file is faster than a guest under emulation.
        command = re.sub(r"--seconds=\d+", "--seconds=1", command)
        return re.sub(r"(?<![\w/])/(dev/zram|sys|tmp)(?=[\w/])", rf"{self.root}/\1", command)

    def _disk(self, number: int) -> Path:
        return self.root / "dev" / f"zram{number}"

    def _add(self) -> bytes:
        number = 1 + max(self.devices, default=0)
        self.devices.append(number)
        self._disk(number).touch()
        attributes = self.root / "sys/block" / f"zram{number}"
        attributes.mkdir(exist_ok=True)
        for attribute in ("compact", "reset", "disksize"):
            (attributes / attribute).touch()
        return f"{number}\n".encode()

    def _count_discards(self, stdout: str) -> None:
        for line in stdout.splitlines():
            if line.startswith("{"):
                self.notify_free += json.loads(line).get("discards", 0)

    def _compact(self, number: int) -> None:
        held, compressed = self.held[number], self._mm_stat(number)[1]
        self.compacted[number] += held - -(-compressed // PAGE)
        if self.compaction_frees:
            self.held[number] = 0

    def _mm_stat(self, number: int) -> tuple[int, ...]:
        stored = same = huge = compressed = 0
        for page in _pages_with_data(self._disk(number)):
            stored += 1
            if page == page[:8] * (PAGE // 8):
                same += 1
                continue
            size = _stored_bytes(page)
            huge += size == PAGE
            compressed += size
        needed = -(-compressed // PAGE)
        self.held[number] = max(needed, self.held[number]) if needed else 0
        used = self.held[number] * PAGE
        return (stored * PAGE, compressed, used, 0, used, same, self.compacted[number], huge)


@functools.lru_cache(maxsize=1 << 14)
def _stored_bytes(page: bytes) -> int:
    size = len(zlib.compress(page, 1))
    return PAGE if size >= HUGE_BYTES else size


def _pages_with_data(path: Path) -> list[bytes]:
    pages = []
    with path.open("rb") as file:
        at, end = 0, path.stat().st_size
        while at < end:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    break
                raise
            hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            file.seek(at)
            while at < hole:
                pages.append(file.read(PAGE))
                at += PAGE
    return pages


@dataclass
class RecordingBench:
    """Keeps what a workload says."""

    guest: HostGuest
    seed: int = 1
    deadline: Deadline = field(default_factory=lambda: Deadline.after(120))
    checkpoints: list[str] = field(default_factory=list)
    checks: dict[str, bool] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def checkpoint(self, name: str) -> None:
        self.checkpoints.append(name)

    def check(self, name: str, holds: bool, *, expected: object, seen: object, because: str) -> None:
        assert name not in self.checks, f"two checks have the name {name}"
        assert because
        self.checks[name] = holds
        self.seen[name] = f"expected {expected}, seen {seen}"

    def drain(self) -> None:
        """Nothing is traced here."""

    def count(self, counter: str, amount: int) -> None:
        self.counts[counter] += amount

    @property
    def failed(self) -> dict[str, str]:
        return {name: self.seen[name] for name, holds in self.checks.items() if not holds}
