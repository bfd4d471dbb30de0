# SPDX-License-Identifier: GPL-2.0-only
"""The main job on a machine that never built a kernel, beside the bare makes of its kernels.  Judges nothing.

python benchmarks/cold.py [--suite smoke] [--series pageless-owner] [--keep DIRECTORY] [ARCHITECTURE...]

Both begin with an empty ccache of their own; the sources are fetched.  The bare makes build each
kernel in a directory of its own, one after another, with every processor.  With --keep DIRECTORY,
which must be empty or new, what the run built stays in DIRECTORY/cache.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from toolkit import pipeline, places, run
from toolkit.deadline import Deadline
from toolkit.kernel import arch as arches
from toolkit.kernel import build
from toolkit.pipeline import Target
from toolkit.progress import Progress, on

KERNEL = "6.1"
LIMIT_S = 4 * 3600.0
SCRATCH = os.environ.get("TMPDIR", "/var/tmp")
# What a first run finds of its own accord, and what this benchmark is not about.
FETCHED = ("accelerator", "apt", "sources.git")


@contextlib.contextmanager
def kept(directory: Path) -> Iterator[Path]:
    """The directory, made where it is not there; nobody's files are overwritten."""
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise SystemExit(f"{directory} is not empty")
    yield directory.absolute()


def bare_makes(targets: list[Target], scratch: Path, progress: Progress) -> float:
    """Seconds of make for all kernels, from nothing but their sources and configurations."""
    taken = 0.0
    for number, target in enumerate(targets):
        tree = pipeline.patched(target.kernel, target.series, progress)
        source = scratch / f"bare{number}"
        pipeline.export(tree, source)
        output = source / "build"
        output.mkdir()
        with progress.step(f"configure {target}") as say:
            output.joinpath(".config").write_bytes(pipeline.configured(target, tree, say).read_bytes())
        arch = arches.load(target.arch)
        ccache = {**build.ccache_environment(source), "CCACHE_DIR": str(scratch / "ccache")}
        argv = ["make", f"-j{os.cpu_count()}", "O=build", *build.toolchain(arch).arguments]
        with progress.step(f"make {target}"):
            begun = time.monotonic()
            run.run(
                [*argv, "olddefconfig", Path(arch.kernel_image).name],
                cwd=source,
                env=ccache,
                deadline=Deadline.after(LIMIT_S),
            )
            taken += time.monotonic() - begun
    return taken


def cold_run(targets: list[Target], suite: str, scratch: Path) -> float:
    """Seconds of the one command, with an empty store, no work tree and no template."""
    cache = scratch / "cache" / "pageless"
    cache.mkdir(parents=True)
    for name in FETCHED:
        (cache / name).symlink_to(places.cache_dir() / name)
    argv = [sys.executable, "-c", "from toolkit.cli import main; main()", "run", "--kernel", KERNEL]
    for option, values in (("--series", [t.series for t in targets]), ("--arch", [t.arch for t in targets])):
        for value in dict.fromkeys(values):
            argv += [option, value]
    environment = {"XDG_CACHE_HOME": str(scratch / "cache"), "XDG_STATE_HOME": str(scratch / "state")}
    begun = time.monotonic()
    run.run([*argv, "--workload", suite], env=environment, deadline=Deadline.after(LIMIT_S))
    return time.monotonic() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description="A cold run beside the bare makes of its kernels.")
    parser.add_argument("--suite", default="smoke")
    parser.add_argument("--series", default="pageless-owner")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY")
    parser.add_argument("archs", nargs="*", default=arches.names(), metavar="ARCHITECTURE")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    targets = [
        Target(KERNEL, series, arch, "base")
        for arch in options.archs or arches.names()
        for series in ("none", options.series)
    ]
    with (
        kept(options.keep) if options.keep else tempfile.TemporaryDirectory(dir=SCRATCH) as directory,
        on(Console(stderr=True)) as progress,
    ):
        scratch = Path(directory)
        bare = bare_makes(targets, scratch, progress)
        print(f"bare make of {len(targets)} kernels: {bare:.0f} s", flush=True)
        whole = cold_run(targets, options.suite, scratch)
        print(f"cold run with the suite {options.suite}: {whole:.0f} s, {whole / bare:.2f} of the bare makes")


if __name__ == "__main__":
    main()
