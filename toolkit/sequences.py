# SPDX-License-Identifier: GPL-2.0-only
"""Many random sequences, model against the tree's own code: kept as they go, resumed where they stopped."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from toolkit import places, saved, store
from toolkit.deadline import Deadline
from toolkit.kernel import series
from toolkit.model.geometry import geometry
from toolkit.pipeline import patched
from toolkit.progress import Progress
from toolkit.userspace import build, sim
from toolkit.userspace.build import Program
from toolkit.verdict import Status

SCHEMA = 1

# What is known is written down after so many sequences: seconds of work.
_KEPT_EVERY = 100
_SEQUENCE_S = 300.0
_COMPILE_S = 900.0


@dataclass(frozen=True)
class Tally:
    """What sequences 0 to `sequences` - 1 came to, of one tree with pages of one size.

    `sequence` number n has the seed n.  `requests` are those that were carried out, by
    kind, of all; `differing` are the seeds on which tree and model parted, with how.
    `program` is the compiled tree, our shims included: another one begins anew.
    """

    kernel: str
    version: str
    series: str
    sha256: str
    program: str
    page_size: int
    operations: int
    sequences: int = 0
    requests: Mapping[str, int] = field(default_factory=dict)
    differing: Mapping[int, str] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def status(self) -> Status:
        if self.differing:
            return Status.FAIL
        return Status.PASS if self.sequences and self.requests.get("MALLOC") else Status.ERROR


def directory() -> Path:
    return places.state_dir() / "sequences"


def tally(
    kernels: Sequence[str],
    name: str,
    page_sizes: Sequence[int],
    *,
    wanted: int,
    operations: int,
    seconds: float,
    progress: Progress,
) -> tuple[Tally, ...]:
    """As many sequences of each kernel and page size as `seconds` are enough for, at most `wanted`.

    Those that need them most come first, so that an interrupted campaign is even.
    """
    open_: list[tuple[Tally, Program]] = []
    series.load(name)
    for kernel in kernels:
        tree = patched(kernel, name, progress)
        for page_size in page_sizes:
            made = geometry(tree.version, page_size)
            with progress.step(f"compile mm/zsmalloc.c of {kernel}, {page_size >> 10}K pages"):
                program = build.compile_tree(
                    build.tree_reader(tree),
                    page_size=page_size,
                    chain_size=made.chain_size,
                    cache=store.default_store(),
                    deadline=Deadline.after(_COMPILE_S),
                )
            fresh = Tally(
                kernel,
                tree.version,
                name,
                program.source_sha256,
                program.path.parent.name,
                page_size,
                operations,
            )
            path = _file(fresh)
            open_.append((saved.read(Tally, path) if path.exists() else fresh, program))
    deadline = Deadline.after(seconds)
    with progress.step("random sequences") as say:
        while not deadline.passed:
            at = min(range(len(open_)), key=lambda i: open_[i][0].sequences)
            one, program = open_[at]
            if one.sequences >= wanted:
                break
            say(f"{one.kernel}, {one.page_size >> 10}K pages, from sequence {one.sequences}")
            open_[at] = _further(one, program, min(wanted, one.sequences + _KEPT_EVERY)), program
            directory().mkdir(parents=True, exist_ok=True)
            saved.write(_file(one), open_[at][0])
    return tuple(one for one, _ in open_)


def kept() -> Iterator[Tally]:
    """All that is known, of trees that are no more too."""
    for path in sorted(directory().glob("*.json")):
        yield saved.read(Tally, path)


def _further(one: Tally, program: Program, end: int) -> Tally:
    made = geometry(one.version, one.page_size)
    requests, differing = Counter(one.requests), dict(one.differing)
    seeds = range(one.sequences, end)
    deadline = Deadline.after(_SEQUENCE_S * len(seeds))
    for done in sim.simulate_each(program, made, operations=one.operations, seeds=seeds, deadline=deadline):
        requests.update(done.done)
        if done.difference is not None:
            differing[done.seed] = done.difference.what
    return replace(one, sequences=end, requests=dict(requests), differing=differing)


def _file(one: Tally) -> Path:
    what = f"{one.program} {one.series} {one.page_size} {one.operations}"
    digest = hashlib.sha256(what.encode()).hexdigest()[:12]
    return directory() / f"{one.kernel.replace('/', '_')}.{one.page_size}.{digest}.json"
