# SPDX-License-Identifier: GPL-2.0-only
"""What the suite notices of planted faults: each is built and run until a check fails.

The cheapest comes first: the tree's mm/zsmalloc.c beside the model in user space, then the
workload that its author expects to find it, then the rest of the suite.  A workload finds a
fault only if it fails with it and does not fail the same kernel without it.  What became of
each is kept at once, so that a campaign that was interrupted goes on where it was.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from toolkit import pipeline, saved
from toolkit.archive import Archive
from toolkit.errors import BuildError, InputError
from toolkit.kernel import faults, mutants, series
from toolkit.kernel.faults import Fault
from toolkit.kernel.mutants import Mutant
from toolkit.kernel.source import Tree
from toolkit.pipeline import Target
from toolkit.progress import Progress
from toolkit.record import Cell, Record
from toolkit.userspace.build import COMPILED
from toolkit.verdict import Check, Status
from toolkit.workload import catalogue

SCHEMA = 1

# What finds a fault before any kernel is built.
SIM = "sim"


class Fate(StrEnum):
    """What became of a fault."""

    KILLED = "killed"
    SURVIVED = "survived"
    # The kernel that was built is the same to the byte.
    SAME = "same"
    # It does not compile: nothing that anybody could ship.
    UNBUILT = "unbuilt"
    # No workload failed, but some could not be judged.
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """What became of one fault on one architecture.

    killer: SIM or a workload; check: the first decisive one, with its summary; machine_s:
    the seconds that workloads (or the simulation) had run until then; build_s: the build's.
    ran: what was run, in its order.
    """

    fault: str
    sha256: str
    version: str
    arch: str
    config: str
    seed: int
    fate: Fate
    killer: str = ""
    check: str = ""
    summary: str = ""
    machine_s: float = 0.0
    build_s: float = 0.0
    ran: tuple[str, ...] = ()
    when: str = ""


@dataclass(frozen=True)
class Findings:
    """All that a campaign found, in a file."""

    findings: tuple[Finding, ...] = ()
    schema: int = SCHEMA

    def of(self, fault: Fault, arch: str) -> Finding | None:
        """The finding on this fault as it is now, if there is one."""
        for finding in self.findings:
            if (finding.fault, finding.arch, finding.sha256) == (fault.name, arch, fault.sha256):
                return finding
        return None

    def with_(self, new: Finding) -> Findings:
        others = [f for f in self.findings if (f.fault, f.arch) != (new.fault, new.arch)]
        return Findings(tuple(sorted([*others, new], key=lambda f: (f.fault, f.arch))))


@dataclass(frozen=True)
class Campaign:
    """How faults are looked for; `again` says which of those that were tried are tried once more."""

    kernel: str
    line: str
    arch: str
    workloads: tuple[str, ...]
    seed: int = 1
    config: str | None = None
    simulate: bool = True
    # Without, what user space does not find has survived, and faults elsewhere are not tried.
    guests: bool = True
    again: frozenset[Fate] = field(default_factory=frozenset)

    def config_of(self, fault: Fault) -> str:
        return self.config or fault.config

    def workloads_of(self, fault: Fault) -> tuple[str, ...]:
        """The workloads in the order of their running; the expected ones come first."""
        known = catalogue.names()
        expected = [name for name in fault.workloads if name in known]
        names = (w.name for wanted in self.workloads for w in catalogue.select(wanted))
        return tuple(dict.fromkeys([*expected, *names]))


def selected(line: str, names: Sequence[str], planted_in: str = series.BASELINE) -> tuple[Fault, ...]:
    """The catalogue's faults of these names; a name may be a patch, or a directory of them.

    Without names, all those of the catalogue that belong in that series; a patch that does not
    tell its series goes there, too.  UnknownNameError if a name is none of these, InputError
    for a patch or directory that has none.
    """
    if names:
        return tuple(fault for name in names for fault in _named(line, name, planted_in))
    known = (faults.load(line, name) for name in faults.names(line))
    found = tuple(fault for fault in known if fault.series == planted_in)
    if not found:
        raise InputError(f"no fault for {line} is planted in {planted_in}", hint="give patches, or draw some")
    return found


def _named(line: str, name: str, planted_in: str) -> tuple[Fault, ...]:
    path = Path(name)
    if path.is_dir():
        patches = sorted(path.glob("*.patch"))
        if not patches:
            raise InputError(f"{name} holds no patch", hint="pageless draw puts some there")
        return tuple(faults.given(patch, planted_in) for patch in patches)
    if path.suffix == ".patch":
        if not path.is_file():
            raise InputError(f"there is no patch {name}", hint="pageless list faults tells those declared")
        return (faults.given(path, planted_in),)
    return (faults.load(line, name),)


def load(path: Path) -> Findings:
    """What was found before, nothing if the file is not there."""
    return saved.read(Findings, path) if path.exists() else Findings()


def run(
    campaign: Campaign, wanted: Sequence[Fault], path: Path, archive: Archive, progress: Progress
) -> Findings:
    """Try each fault that was not tried yet, and keep what became of it in `path`.

    Returns the findings on the faults wanted.
    """
    chosen = _fitting(campaign, wanted)
    path.parent.mkdir(parents=True, exist_ok=True)
    guests = _Guests(campaign, archive, progress)
    for fault in chosen:
        before = load(path).of(fault, campaign.arch)
        if before is None or before.fate in campaign.again:
            finding = _try(campaign, fault, guests, progress)
            saved.write(path, load(path).with_(finding))
    return known(campaign, wanted, path)


def known(campaign: Campaign, wanted: Sequence[Fault], path: Path) -> Findings:
    """What is kept in `path` on these faults."""
    kept = load(path)
    found = (kept.of(fault, campaign.arch) for fault in _fitting(campaign, wanted))
    return Findings(tuple(finding for finding in found if finding is not None))


def _fitting(campaign: Campaign, wanted: Sequence[Fault]) -> tuple[Fault, ...]:
    """Those that can show where the campaign looks."""
    return tuple(
        fault
        for fault in wanted
        if (not fault.archs or campaign.arch in fault.archs)
        and (campaign.guests or COMPILED.intersection(fault.files))
    )


@dataclass
class _Clock:
    """Adds up how long things took."""

    spent_s: float = 0.0

    @contextlib.contextmanager
    def runs(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.spent_s += time.monotonic() - began


@dataclass
class _Guests:
    """Run workloads, and remember what they said of the kernels without a fault."""

    campaign: Campaign
    archive: Archive
    progress: Progress
    good: dict[Cell, Record] = field(default_factory=dict)

    def run(self, fault: Fault, series_name: str, workload: str) -> Record:
        """What the workload says of the kernel with that series."""
        cell = self._cell(fault, series_name, workload)
        _run, outcome = pipeline.execute(
            self.archive,
            [cell],
            argv=["pageless", "mutate", fault.name],
            jobs=1,
            clone=True,
            progress=self.progress,
            simulated=False,
        )
        return outcome.cells[0]

    def without(self, fault: Fault, workload: str) -> Record:
        """What the workload says of the kernel without the fault, which is asked once."""
        cell = self._cell(fault, fault.series, workload)
        if cell not in self.good:
            self.good[cell] = self.run(fault, fault.series, workload)
        return self.good[cell]

    def _cell(self, fault: Fault, series_name: str, workload: str) -> Cell:
        plan = self.campaign
        return Cell(plan.kernel, series_name, plan.arch, plan.config_of(fault), workload, plan.seed, 0)


def _try(campaign: Campaign, fault: Fault, guests: _Guests, progress: Progress) -> Finding:
    machine, building = _Clock(), _Clock()
    config = campaign.config_of(fault)
    ran: list[str] = []
    version = ""

    def end(fate: Fate, killer: str = "", check: str = "", summary: str = "") -> Finding:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return Finding(
            fault.name, fault.sha256, version, campaign.arch, config, campaign.seed, fate, killer, check,
            summary[:300], round(machine.spent_s, 1), round(building.spent_s, 1), tuple(ran), now,
        )  # fmt: skip

    target = Target(campaign.kernel, fault.planted, campaign.arch, config)
    tree = pipeline.patched(campaign.kernel, target.series, progress)
    version = tree.version
    if campaign.simulate and COMPILED.intersection(fault.files):
        ran.append(SIM)
        with machine.runs():
            found = _simulated(campaign, tree, progress)
        if found.status is Status.FAIL:
            return end(Fate.KILLED, SIM, SIM, found.summary)
        if not campaign.guests:
            return end(Fate.UNBUILT if found.status is Status.SKIP else Fate.SURVIVED, summary=found.summary)
    try:
        with building.runs():
            _tree, kernel = pipeline.built(target, progress)
    except BuildError as error:
        return end(Fate.UNBUILT, summary=error.message)
    _tree, sound = pipeline.built(Target(campaign.kernel, fault.series, campaign.arch, config), progress)
    if _digest(kernel.image) == _digest(sound.image):
        return end(Fate.SAME, summary="the kernel is the same to the byte")
    doubts = []
    for name in campaign.workloads_of(fault):
        ran.append(name)
        with machine.runs():
            record = guests.run(fault, target.series, name)
        if record.status in (Status.PASS, Status.SKIP):
            continue
        check, summary = _decisive(record)
        if record.status is Status.ERROR:
            doubts.append(f"{name}: {check}: {summary}")
        elif guests.without(fault, name).status is Status.PASS:
            return end(Fate.KILLED, name, check, summary)
        else:
            doubts.append(f"{name}: does not pass without the fault either")
    if doubts:
        return end(Fate.ERROR, summary="; ".join(doubts))
    return end(Fate.SURVIVED)


def _simulated(campaign: Campaign, tree: Tree, progress: Progress) -> Check:
    """How the tree's zsmalloc and the model differ in user space, else what was looked at last."""
    for check in pipeline.check_simulated(campaign.kernel, tree, seed=campaign.seed, progress=progress):
        if check.status is Status.FAIL:
            break
    return check


def _decisive(record: Record) -> tuple[str, str]:
    for check in record.verdict.decisive:
        return check.name, check.summary
    return "", ""


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


@dataclass(frozen=True)
class Score:
    """A campaign in numbers; a fault that nobody could find is `harmless`, and counts in no other.

    sometimes: survivors that are marked so; false: equivalents that "were found".
    """

    killed: int
    survived: int
    sometimes: int
    harmless: int
    false: int

    @property
    def of(self) -> int:
        return self.killed + self.survived + self.sometimes


def score(findings: Sequence[Finding], load_fault: Callable[[str], Fault]) -> Score:
    """Equivalent by its mark, or by the kernel's bytes, or not even a kernel: harmless."""
    kinds: Counter[str] = Counter()
    for finding in findings:
        mark = load_fault(finding.fault).mark
        if finding.fate is Fate.KILLED:
            kinds["false" if mark == faults.EQUIVALENT else "killed"] += 1
        elif mark == faults.EQUIVALENT or finding.fate in (Fate.SAME, Fate.UNBUILT):
            kinds["harmless"] += 1
        else:
            kinds["sometimes" if mark == faults.SOMETIMES else "survived"] += 1
    return Score(*(kinds[kind] for kind in ("killed", "survived", "sometimes", "harmless", "false")))


def status_of(numbers: Score) -> Status:
    """FAIL if a fault that must be found was not, or one that is none was; ERROR if none was tried."""
    if numbers.survived or numbers.false:
        return Status.FAIL
    return Status.PASS if numbers.of + numbers.harmless else Status.ERROR


def draw(kernel: str, series_name: str, number: int, seed: int, progress: Progress) -> tuple[Mutant, ...]:
    """Mutants of a kernel's sources, as a series leaves them, by lot."""
    tree = pipeline.patched(kernel, series_name, progress)
    candidates: list[Mutant] = []
    for file in mutants.SOURCES:
        with progress.step(f"mutate {file}"):
            candidates += mutants.mutants(file, tree.repository.show(tree.commit, file) or "")
    return mutants.draw(candidates, number, seed)
