# SPDX-License-Identifier: GPL-2.0-only
"""Recordings: a guest that goes through a script alone, logged so that it can be followed again exactly.

QEMU writes the log (docs/system/replay.rst of QEMU).  Beside it stand the kernel and the
image that it belongs to, so that the directory can be sent to somebody else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit import run, saved
from toolkit.deadline import Deadline
from toolkit.errors import InputError, QemuError
from toolkit.kernel import arch as arches
from toolkit.rig import cpio, splats
from toolkit.rig import qemu as qemus
from toolkit.rig.accelerator import Accelerator
from toolkit.rig.image import MARKER
from toolkit.rig.machine import Machine
from toolkit.rig.qemu import Qemu, Setup, Tape

SCHEMA = 1

# QEMU chooses it, so that the guest's clock keeps up with the host's.
AUTO_SHIFT = "auto"
# From a panic to QEMU's end.
_LAST_WORDS_S = 20.0
_LOOK_S = 0.2
# How finely the moment before a failure is looked for, in instructions, and how far at a time.
_STRIDES = (1 << 24, 1 << 19, 1 << 14)
_STOP_S = 600.0

_STAMP = r"^\[ *\d+\.\d+\] "
_ENDED = re.compile(_STAMP + rf"{MARKER}: ended (?P<step>\d+) (?P<status>\d+)\s*$", re.MULTILINE)
_FINISHED = re.compile(_STAMP + rf"{MARKER}: finished\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """A shell command and its standard input; `status` is what it ended with when it was not recorded."""

    command: str
    stdin: bytes
    status: int


@dataclass(frozen=True)
class Transcript:
    """What a workload executed, as it is kept."""

    steps: tuple[Step, ...]
    schema: int = SCHEMA


@dataclass(frozen=True)
class Schedule:
    """How a recorded guest is scheduled.

    An instruction takes 2^`shift` ns of the guest's time.  With a `seed` other than 0, a
    program in the guest preempts whatever runs at moments that follow from the seed.
    """

    shift: str = AUTO_SHIFT
    seed: int = 0

    @classmethod
    def perturbed(cls, seed: int) -> Schedule:
        """The schedule of that seed (from 1): the larger the shift, the fewer instructions between timers."""
        return cls(str(3 + seed % 4), seed)

    def __str__(self) -> str:
        return f"schedule {self.seed}, shift {self.shift}" if self.seed else f"shift {self.shift}"


@dataclass(frozen=True)
class _Facts:
    """What is written down about a recording; `qemu` is the first line of its --version."""

    title: str
    arch: str
    machine: Machine
    append: str
    shift: str
    seed: int
    statuses: tuple[int, ...]
    qemu: str
    schema: int = SCHEMA


@dataclass(frozen=True)
class Recording:
    """A directory; every path is derived from it.

    ::

        log                 QEMU's log of what came from outside
        kernel vmlinux      what was booted, and its symbols
        initramfs           the guest's image, and the script behind it
        console.log         the console as it was recorded
        recording.json      the machine
    """

    directory: Path

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def console(self) -> Path:
        return self.directory / "console.log"

    @property
    def vmlinux(self) -> Path:
        return self.directory / "vmlinux"

    @property
    def _file(self) -> Path:
        return self.directory / "recording.json"

    @property
    def exists(self) -> bool:
        return self._file.exists()

    @property
    def title(self) -> str:
        """What was recorded, in words."""
        return self._facts().title

    @property
    def schedule(self) -> Schedule:
        facts = self._facts()
        return Schedule(facts.shift, facts.seed)

    def setup(self) -> Setup:
        """The guest, as it was recorded."""
        facts = self._facts()
        return Setup(
            arches.load(facts.arch),
            facts.machine,
            Accelerator("tcg", "it is recorded"),
            self.directory / "kernel",
            self.directory / "initramfs",
            facts.append,
        )

    def failure(self) -> Failure | None:
        """What went wrong when it was recorded, None if nothing did."""
        return failure(self.console.read_text(encoding="utf-8", errors="replace"), self._facts().statuses)

    def check_qemu(self) -> None:
        """InputError if this host's QEMU is not the one that recorded: another one's log differs."""
        facts = self._facts()
        here = _qemu_version(arches.load(facts.arch).qemu)
        if here != facts.qemu:
            raise InputError(
                f"{self.directory} was recorded by another QEMU",
                hint=f"install {facts.qemu}; this is {here}",
            )

    def _facts(self) -> _Facts:
        return saved.read(_Facts, self._file)


@dataclass(frozen=True)
class Failure:
    """What a recorded console says went wrong: `line` is its first line that says so, from 0."""

    what: str
    line: int
    # The kernel's own report, if it made one.
    report: str = ""
    fatal: bool = False


def failure(console: str, statuses: Sequence[int]) -> Failure | None:
    """The first failure on a console: the kernel's complaint, a step's status, an end that never came."""
    found = [Failure(r.title, r.line, r.text, r.kind.fatal) for r in splats.find_reports(console)]
    for ended in _ENDED.finditer(console):
        step, status = int(ended["step"]), int(ended["status"])
        if step < len(statuses) and status != statuses[step]:
            line = console.count("\n", 0, ended.start())
            found.append(Failure(f"step {step} ended with status {status}, not {statuses[step]}", line))
    if not found and not _FINISHED.search(console):
        done = len(_ENDED.findall(console))
        found.append(Failure(f"it hung in step {done} of {len(statuses)}", console.count("\n"), fatal=True))
    return min(found, key=lambda each: each.line, default=None)


def record(
    setup: Setup,
    vmlinux: Path,
    steps: Sequence[Step],
    directory: Path,
    *,
    title: str,
    schedule: Schedule,
    deadline: Deadline,
) -> Recording:
    """Run a guest through `steps`, logged into a new directory, to its end or the deadline."""
    directory.mkdir(parents=True)
    made = Recording(directory)
    _link(setup.kernel, directory / "kernel")
    _link(vmlinux, directory / "vmlinux")
    scripted(setup, steps, directory / "initramfs", schedule.seed)
    facts = _Facts(
        title=title,
        arch=setup.arch.name,
        machine=dataclasses.replace(setup.machine, cpus=1),
        append=setup.append,
        shift=schedule.shift,
        seed=schedule.seed,
        statuses=tuple(step.status for step in steps),
        qemu=_qemu_version(setup.arch.qemu),
    )
    saved.write(made._file, facts)
    tape = Tape(made.log, replayed=False, shift=schedule.shift)
    with qemus.running(made.setup(), directory, tape=tape) as qemu:
        follow(qemu, made.console, deadline)
    return made


@contextlib.contextmanager
def replaying(made: Recording, directory: Path, *, gdb: Path | None = None) -> Iterator[Qemu]:
    """A QEMU that waits to follow a recording; its console is a file in `directory`."""
    made.check_qemu()
    tape = Tape(made.log, replayed=True, shift=made.schedule.shift, gdb=gdb)
    with qemus.running(made.setup(), directory, tape=tape) as qemu:
        yield qemu


def replay(made: Recording, directory: Path, deadline: Deadline) -> bytes:
    """Follow a recording to its end; the console that came of it."""
    with replaying(made, directory) as qemu:
        qemu.monitor.execute("cont")
        console = directory / "console.log"
        length = made.console.stat().st_size
        while not qemu.wait_gone(Deadline.after(_LOOK_S)) and not deadline.passed:
            # One that hung ends when we say so: there is nothing in the log to end it.
            if made_no_end(made) and console.stat().st_size >= length:
                break
        if not qemu.gone and console.stat().st_size < length:
            raise QemuError("QEMU did not come to the end of the recording", detail=qemu.stderr())
        return console.read_bytes()


def made_no_end(made: Recording) -> bool:
    """Whether the recording was cut off, rather than ended by its guest."""
    found = made.failure()
    return found is not None and found.what.startswith("it hung")


def move_before_failure(made: Recording, qemu: Qemu, directory: Path, instructions: int) -> int:
    """Bring a replay that waits at its start to so many instructions before its failure shows.

    Other replays look for that moment first.  Returns the number of instructions executed.
    """
    found = made.failure()
    if found is None:
        raise InputError(f"nothing went wrong in {made.directory}", hint="replay it without --before")
    shown = made.console.read_bytes().split(b"\n")[: found.line]
    length = sum(len(line) + 1 for line in shown)
    moment = 0
    for stride in _STRIDES:
        looking = directory / f"stride-{stride}"
        looking.mkdir()
        with replaying(made, looking) as other:
            if moment:
                _run_to(other, moment)
            while (looking / "console.log").stat().st_size <= length:
                moment = _executed(other)
                if not _run_to(other, moment + stride):
                    break
    target = max(moment - instructions, 1)
    if not _run_to(qemu, target):
        raise QemuError("the replay ended too early", detail=qemu.stderr())
    return target


def _executed(qemu: Qemu) -> int:
    return int(qemu.monitor.execute("query-replay")["icount"])


def _run_to(qemu: Qemu, instruction: int) -> bool:
    """Let a replay go on to that instruction; False if it ended before."""
    stops = len(qemu.monitor.events("STOP"))
    qemu.monitor.execute("replay-break", icount=instruction)
    qemu.monitor.execute("cont")
    end = Deadline.after(_STOP_S)
    while len(qemu.monitor.events("STOP")) == stops:
        if qemu.gone:
            return False
        if end.passed:
            raise QemuError("the replay stands still", detail=qemu.stderr())
        time.sleep(0.001)
    return True


def follow(qemu: Qemu, console: Path, deadline: Deadline) -> None:
    """Return once the guest ended QEMU, or ended in any other way that its console tells."""
    while not qemu.wait_gone(Deadline.after(_LOOK_S)):
        if deadline.passed:
            return
        text = console.read_text(encoding="utf-8", errors="replace") if console.exists() else ""
        if any(report.kind.fatal for report in splats.find_reports(text)):
            qemu.wait_gone(Deadline.after(min(_LAST_WORDS_S, deadline.remaining_s)))
            return


def scripted(setup: Setup, steps: Sequence[Step], initramfs: Path, seed: int = 0) -> Setup:
    """The guest of one processor that goes through `steps` alone; its image is written to `initramfs`."""
    initramfs.write_bytes(setup.initramfs.read_bytes() + _script(steps, seed))
    return dataclasses.replace(
        setup, initramfs=initramfs, machine=dataclasses.replace(setup.machine, cpus=1), inspectable=False
    )


def _script(steps: Sequence[Step], seed: int) -> bytes:
    """What init goes through: an archive that the kernel unpacks behind the guest's image."""
    entries = [cpio.directory("script")]
    if seed:
        entries.append(cpio.file("script/seed", f"{seed}\n".encode()))
    for number, step in enumerate(steps):
        entries.append(cpio.file(f"script/{number:04}.command", step.command.encode()))
        entries.append(cpio.file(f"script/{number:04}.input", step.stdin))
    return cpio.pack(entries)


def _link(source: Path, target: Path) -> None:
    """A second name for a file of the store, which never changes; a copy on another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _qemu_version(program: str) -> str:
    return run.run([program, "--version"], deadline=Deadline.after(30.0)).stdout.partition("\n")[0]
