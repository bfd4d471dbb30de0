# SPDX-License-Identifier: GPL-2.0-only
"""What one cell left behind: files in its directory, so that judging needs no guest.

::

    facts.json               Facts: what was run on what, and how it ended
    boot.log                 the serial console of the template that the guest was cloned from
    console.log              the serial console of the guest, whole
    dmesg.txt                the kernel's log at the end, if it came to that
    checkpoints/NAME/...     a Snapshot of the guest's files at each checkpoint
    inspections/NAME.json    what its memory held at each checkpoint, if it could be inspected
    userspace.json           what the tree's own zsmalloc made of the trace in user space
    core                     the memory of an inspectable guest that crashed or hung, as ELF
    core.json                what that held
    samples/...              vmstat and mm_stat through the run
    transcript.json          the commands that the workload executed in the guest
    recording/...            the same commands again in a guest that was recorded, if asked for
    trace/...                the trace's ring buffers and formats, in binary form
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from toolkit import saved
from toolkit.userspace.follow import PoolFollowed
from toolkit.verdict import Check

SCHEMA = 1

# The checkpoints that the pipeline takes around every workload.
BASELINE = "baseline"
END = "end"


class Ending(StrEnum):
    """How a cell ended."""

    FINISHED = "finished"
    FAILED = "failed"  # a command in the guest failed, or the workload raised
    OOPS = "oops"  # panic, oops or reboot
    HUNG = "hung"
    UNREACHED = "unreached"  # what the workload is there for never happened
    LOST = "lost"  # QEMU or the connection died or never came up, the kernel said nothing
    UNBUILT = "unbuilt"  # no kernel to run on
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"  # the kernel lacks what the workload needs, or is too new for it


@dataclass(frozen=True)
class Facts:
    """What judging needs to know besides the captures.

    `release` is the kernel's version ("6.1.192"), `page_size` in bytes, `chain_size`
    the most pages a zspage may have, None where the kernel fixes it.  `floors`,
    `counters` and `checks` are the workload's.  `checkpoints` are in the order taken.
    """

    workload: str
    single_threaded: bool
    floors: Mapping[str, int]
    release: str
    page_size: int
    chain_size: int | None
    ending: Ending
    trouble: str = ""
    detail: str = ""
    checkpoints: tuple[str, ...] = ()
    counters: Mapping[str, int] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    schema: int = SCHEMA


@dataclass(frozen=True)
class Followed:
    """What the tree's own zsmalloc made of the trace in user space.

    `sha256` of the mm/zsmalloc.c that was compiled; `broke` is how the code broke under
    it, `unfit` why nothing could be tried.
    """

    sha256: str = ""
    pools: tuple[PoolFollowed, ...] = ()
    broke: str = ""
    unfit: str = ""
    schema: int = SCHEMA


@dataclass(frozen=True)
class Evidence:
    """The files of one cell; every path is derived from its directory."""

    directory: Path

    @property
    def facts_file(self) -> Path:
        return self.directory / "facts.json"

    @property
    def console_log(self) -> Path:
        return self.directory / "console.log"

    @property
    def boot_log(self) -> Path:
        return self.directory / "boot.log"

    @property
    def dmesg(self) -> Path:
        return self.directory / "dmesg.txt"

    @property
    def samples(self) -> Path:
        return self.directory / "samples"

    @property
    def trace(self) -> Path:
        return self.directory / "trace"

    @property
    def transcript(self) -> Path:
        return self.directory / "transcript.json"

    @property
    def recording(self) -> Path:
        return self.directory / "recording"

    def checkpoint(self, name: str) -> Path:
        return self.directory / "checkpoints" / name

    def inspection(self, name: str) -> Path:
        return self.directory / "inspections" / f"{name}.json"

    @property
    def userspace(self) -> Path:
        return self.directory / "userspace.json"

    @property
    def core(self) -> Path:
        return self.directory / "core"

    @property
    def core_inspection(self) -> Path:
        return self.directory / "core.json"

    def facts(self) -> Facts:
        """The facts, or StoreError if they are missing or of another version."""
        return saved.read(Facts, self.facts_file)

    def console(self) -> str:
        """What the console printed since power on, empty if the guest never started."""
        logs = (path for path in (self.boot_log, self.console_log) if path.exists())
        return "".join(path.read_text(encoding="utf-8", errors="replace") for path in logs)
