# SPDX-License-Identifier: GPL-2.0-only
"""How often a bisection names the patch that brought a fault which not every run shows.  Judges nothing.

python benchmarks/bisection.py [--tries 10] [--patches 12] [--bad 7] [--workload drive] [--arch x86_64]

A series of as many patches is made, of which all but one only add a remark to mm/zsmalloc.c.  The
bad one takes too small a class for objects of a few sizes: a run shows it if it draws one of them.
First that patch is run by itself, half as often as a try may at the most, to tell how often that is.
"""

from __future__ import annotations

import argparse
import difflib
import logging
import tempfile
import time
from pathlib import Path

from rich.console import Console

from toolkit import bisection, pipeline
from toolkit.archive import Archive
from toolkit.kernel import arch as arches
from toolkit.progress import on
from toolkit.verdict import Status

KERNEL = "6.1"
SOURCE = "mm/zsmalloc.c"
# Sizes of objects, in bytes, without the handle.  They are no border of a class, which is drawn more often:
# with 2713 among them, 26 runs of 30 showed the fault, with four from 2717 on 19.
LEAST, SIZES = 2717, 2
# In zs_malloc(), and what the fault puts behind it.
MARK = "\tsize += ZS_HANDLE_SIZE;\n"
FAULT = f"\tif (size - ZS_HANDLE_SIZE - {LEAST} < {SIZES})\n\t\tsize -= 16;\n"
CONFIDENCE, RUNS = 0.97, 60


def changed(text: str, number: int, bad: int) -> str:
    """The source after the patch of that number."""
    if number == bad:
        if text.count(MARK) != 1:
            raise SystemExit(f"{SOURCE} has changed: zs_malloc() is not what it was")
        return text.replace(MARK, MARK + FAULT)
    return f"{text}\n/* Remark {number}. */\n"


def make_series(text: str, count: int, bad: int, directory: Path) -> None:
    """Write the patches and their list, as quilt has them."""
    names = []
    for number in range(1, count + 1):
        after = changed(text, number, bad)
        lines = [part.splitlines(keepends=True) for part in (text, after)]
        diff = "".join(difflib.unified_diff(*lines, f"a/{SOURCE}", f"b/{SOURCE}"))
        names.append(f"{number:04}.patch")
        (directory / names[-1]).write_text(f"Subject: patch {number}\n\n---\n{diff}", encoding="utf-8")
        text = after
    (directory / "series").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="How often a bisection names the bad patch.")
    parser.add_argument("--tries", type=int, default=10)
    parser.add_argument("--patches", type=int, default=12)
    parser.add_argument("--bad", type=int, default=7)
    parser.add_argument("--workload", default="drive")
    parser.add_argument("--arch", default="x86_64", choices=arches.names())
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with tempfile.TemporaryDirectory() as name, on(Console(stderr=True)) as progress:
        directory = Path(name, "runs")
        kept = Archive(directory)
        patches = Path(name, "patches")
        patches.mkdir()
        tree = pipeline.fetch(KERNEL, progress)
        text = tree.repository.show(tree.tree_id, SOURCE)
        assert text is not None
        make_series(text, options.patches, options.bad, patches)
        steps = bisection.steps_of(str(patches), KERNEL, progress)
        shown = 0
        for seed in range(RUNS // 2):
            cells = pipeline.plan(
                kernels=[KERNEL],
                series=[steps[options.bad].series],
                archs=[options.arch],
                config="base",
                workloads=[options.workload],
                seed=seed,
                repeat=1,
            )
            _, outcome = pipeline.execute(
                kept, cells, argv=["bisection.py"], jobs=1, clone=True, progress=progress, simulated=False
            )
            shown += outcome.status is not Status.PASS
        print(f"the bad patch shows in {shown} of {RUNS // 2} runs of {options.workload}", flush=True)
        right = 0
        for turn in range(options.tries):
            begun = time.monotonic()
            found = bisection.bisect(
                kept,
                steps,
                arch=options.arch,
                config="base",
                workloads=[options.workload],
                trouble=bisection.Trouble(""),
                confidence=CONFIDENCE,
                limit=RUNS,
                seed=1000 * (turn + 1),
                jobs=1,
                argv=["bisection.py"],
                progress=progress,
            )
            named, probability = found.suspects[0]
            right += named == steps[options.bad].title
            took = time.monotonic() - begun
            print(f"  {probability:6.1%} {named}, after {found.runs} runs, {took:.0f} s", flush=True)
        print(f"{right} of {options.tries} name the bad patch, {steps[options.bad].title}")


if __name__ == "__main__":
    main()
