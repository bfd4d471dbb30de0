# SPDX-License-Identifier: GPL-2.0-only
"""How many operations a second the model and the kernel's own code replay.  Prints a table; judges nothing.

python benchmarks/model.py [--operations N] [--tree DIRECTORY]

Seconds of CPU, for one thread does it all, or two processes that wait for one another: a busy
machine has less effect.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from toolkit.deadline import Deadline
from toolkit.model.geometry import Geometry, geometry
from toolkit.model.operations import Op, Operations, Recorder
from toolkit.model.replay import replay
from toolkit.model.replay_fast import replay_fast
from toolkit.store import default_store
from toolkit.userspace.build import Program, compile_tree, directory_reader
from toolkit.userspace.library import REQUEST, Request, open_library

AGAIN = 3
RELEASES = ("6.1", "6.12", "7.3")


def churn(made: Geometry, count: int) -> Operations:
    """One pool that grows slowly, in random sizes, compacted now and then; nothing is left of it."""
    chance = random.Random(1)
    trace = Recorder()
    trace.create()
    live: list[int] = []
    for handle in range(count):
        if live and chance.random() < 0.48:
            at = chance.randrange(len(live))
            live[at], live[-1] = live[-1], live[at]
            trace.free(live.pop())
        elif len(live) < 20_000:
            trace.malloc(chance.randint(1, made.page_size), handle)
            live.append(handle)
        if handle % 20_000 == 0:
            trace.compact()
            trace.mark(str(handle))
    for handle in live:
        trace.free(handle)
    trace.destroy()
    return trace.operations()


def seconds(work: Callable[[], object]) -> float:
    """Of CPU: ours, and that of the programs that `work` starts and ends."""
    before = os.times()
    work()
    after = os.times()
    return sum(after[:4]) - sum(before[:4])


def requests(operations: Operations) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """The same operations for the kernel's code, which gets no marks."""
    kinds = {
        Op.CREATE: Request.CREATE,
        Op.MALLOC: Request.MALLOC,
        Op.FREE: Request.FREE,
        Op.DESTROY: Request.DESTROY,
    }
    rows = np.zeros(len(operations), dtype=REQUEST)
    rows["op"] = Request.COMPACT
    for op, request in kinds.items():
        rows["op"][operations.op == op] = request
    rows["b"], rows["c"] = operations.size, operations.handle
    return rows[operations.op != Op.MARK]


def drive(
    program: Program, rows: np.ndarray[tuple[int], np.dtype[np.void]], times: int, *, content: bool
) -> None:
    """From the program's start to its end, everything over and over."""
    with open_library(program, deadline=Deadline.after(1200)) as library:
        library.ask(Request.CONTENT, int(content))
        for _ in range(times):
            library.submit(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--tree", type=Path, help="a kernel tree of 6.1, to run its own zsmalloc.c too")
    options = parser.parse_args()
    out = sys.stdout.write
    for release in RELEASES:
        made = geometry(release, 4096)
        operations = churn(made, options.operations)
        replay_fast(operations, made)  # compiles
        plain = seconds(lambda made=made, operations=operations: replay(operations, made))  # type: ignore[misc]
        fast = seconds(lambda made=made, operations=operations: replay_fast(operations, made))  # type: ignore[misc]
        out(f"{release} model, plain     {len(operations) / plain / 1e6:8.3f} M operations/s\n")
        out(f"{release} model, compiled  {len(operations) / fast / 1e6:8.3f} M operations/s\n")
    if options.tree is None:
        return
    rows = requests(churn(geometry("6.1", 4096), options.operations))
    for sanitize, content in ((True, True), (True, False), (False, True), (False, False)):
        deadline = Deadline.after(1200)
        program = compile_tree(
            directory_reader(options.tree),
            page_size=4096,
            sanitize=sanitize,
            cache=default_store(),
            deadline=deadline,
        )
        # Without the start, and the memory that is touched for the first time.
        once, again = (
            seconds(
                lambda program=program, content=content, times=times: drive(
                    program, rows, times, content=content
                )
            )  # type: ignore[misc]
            for times in (1, 1 + AGAIN)
        )
        taken = (again - once) / AGAIN
        name = "sanitized" if sanitize else "plain"
        out(
            f"6.1 zsmalloc.c, {name:9}{len(rows) / taken / 1e6:9.3f} M requests/s"
            f"{' with content' if content else ''}\n"
        )


if __name__ == "__main__":
    main()
