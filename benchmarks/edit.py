# SPDX-License-Identifier: GPL-2.0-only
"""From a one-line edit of mm/zsmalloc.c to the verdict of a suite, beside the bare make.  Judges nothing.

python benchmarks/edit.py [--suite smoke] [ARCHITECTURE...]

A copy of the kernel is edited anew for every measurement, so that no cache knows it.  The
bare `make` is that of the same edit in a build directory of its own, warm but for the edit; what it
builds before comes from the cache of the compiler as far as that knows it.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from toolkit import pipeline, run
from toolkit.deadline import Deadline
from toolkit.kernel import arch as arches
from toolkit.kernel import build, kconfig
from toolkit.progress import Progress, on

logger = logging.getLogger("edit")

LIMIT_S = 4 * 3600.0
EDITED = "mm/zsmalloc.c"


def edit(tree: Path) -> None:
    """Have a function do more, without consequence: something else each time, so that no kernel is known."""
    source = tree / EDITED
    text = source.read_text(encoding="utf-8")
    mark = "\tBUG_ON(in_interrupt());\n"
    assert mark in text
    number = time.time_ns() // 1000 % (1 << 31)
    added = f'\tasm volatile("" : : "r"({number}));\n'
    source.write_text(text.replace(mark, mark + added, 1), encoding="utf-8")


def bare_make(tree: Path, name: str, config: Path) -> float:
    """Seconds of the incremental make after an edit."""
    arch = arches.load(name)
    tools = build.toolchain(arch)
    output = tree / "build"
    output.mkdir()
    (output / ".config").write_bytes(config.read_bytes())
    argv = ["make", "-C", tree, "O=build", f"-j{os.cpu_count()}", *tools.arguments]
    cache = build.ccache_environment(tree)
    deadline = Deadline.after(LIMIT_S)
    run.run([*argv, "olddefconfig", "vmlinux"], env=cache, deadline=deadline)
    edit(tree)
    begun = time.monotonic()
    run.run([*argv, "vmlinux"], env=cache, deadline=deadline)
    taken = time.monotonic() - begun
    shutil.rmtree(output)
    return taken


def verdict(tree: Path, names: list[str], suite: str) -> float:
    """Seconds of the one command that says what an edit came to; the kernel before the edit was built."""
    archs = [word for name in names for word in ("--arch", name)]
    argv = [sys.executable, "-c", "from toolkit.cli import main; main()", "run", "--kernel", tree]
    argv += ["--series", "none", "--workload", suite, *archs]
    deadline = Deadline.after(LIMIT_S)
    run.run(argv, deadline=deadline)
    edit(tree)
    begun = time.monotonic()
    run.run(argv, deadline=deadline)
    return time.monotonic() - begun


def measure(names: list[str], suite: str, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as directory:
        tree = Path(directory, "linux")
        fetched = pipeline.fetch("6.1", progress)
        pipeline.export(fetched, tree)
        made = {}
        for name in names:
            arch = arches.load(name)
            config = build.configure(fetched, arch, kconfig.compose("base", arch, fetched.release))
            made[name] = bare_make(tree, name, config)
            print(f"{name}: bare incremental make vmlinux {made[name]:.1f} s")
        run.run(["make", "-C", tree, "mrproper"], deadline=Deadline.after(LIMIT_S))
        for some in [[name] for name in names] + ([names] if len(names) > 1 else []):
            seconds = verdict(tree, some, suite)
            bare = sum(made[name] for name in some)
            print(f"{' and '.join(some)}: edit to the verdict of {suite} {seconds:.1f} s, ", end="")
            print(f"{(seconds - 10) / bare:.2f} times the bare make and 10 s")


def main() -> None:
    parser = argparse.ArgumentParser(description="From an edit to a verdict.")
    parser.add_argument("--suite", default="smoke")
    parser.add_argument("archs", nargs="*", default=["x86_64", "arm64"], metavar="ARCHITECTURE")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from rich.console import Console

    with on(Console(stderr=True)) as progress:
        measure(options.archs, options.suite, progress)


if __name__ == "__main__":
    main()
