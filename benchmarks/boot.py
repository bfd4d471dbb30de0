# SPDX-License-Identifier: GPL-2.0-only
"""How long until a guest answers, booted and cloned; how long until a clone runs on.  Judges nothing.

python benchmarks/boot.py [--repeat N] [ARCHITECTURE...]
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from toolkit.deadline import Deadline
from toolkit.kernel import arch as arches
from toolkit.kernel import build, kconfig, source
from toolkit.rig import image, machine, qemu_guest, template
from toolkit.rig.accelerator import accelerator
from toolkit.rig.qemu import Setup
from toolkit.rig.template import Template
from toolkit.store import default_store

logger = logging.getLogger("boot")

KERNEL = "6.1"
LIMIT_S = 900.0


def prepared(name: str, rig: str = "default") -> Setup:
    """The plain kernel on a machine, from the cache if it is there."""
    arch = arches.load(name)
    tree = source.fetch(source.load(KERNEL), progress=logger.info)
    config = build.configure(tree, arch, kconfig.compose("base", arch, tree.release), progress=logger.info)
    kernel = build.build(tree, arch, config, progress=logger.info)
    initramfs = image.initramfs(arch, default_store(), deadline=Deadline.after(LIMIT_S))
    return Setup(arch, machine.load(rig), accelerator(arch), kernel.image, initramfs)


def measured(start: Callable[[Path], AbstractContextManager[Any]], repeat: int) -> list[float]:
    """Seconds until a context is entered."""
    taken = []
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as name:
            begun = time.monotonic()
            with start(Path(name)):
                taken.append(time.monotonic() - begun)
    return taken


@contextlib.contextmanager
def booted(setup: Setup, directory: Path) -> Iterator[None]:
    limit = Deadline.after(LIMIT_S)
    with qemu_guest.boot(setup, directory, deadline=limit) as guest:
        guest.execute("true", deadline=limit)
        yield


@contextlib.contextmanager
def cloned(frozen: Template, directory: Path) -> Iterator[None]:
    limit = Deadline.after(LIMIT_S)
    with template.clone(frozen, directory, deadline=limit) as guest:
        guest.execute("true", deadline=limit)
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description="How long until a guest answers.")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("archs", nargs="*", default=arches.names(), metavar="ARCHITECTURE")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name in options.archs:
        setup = prepared(name)
        frozen = template.template(setup, deadline=Deadline.after(LIMIT_S))
        rows: dict[str, Callable[[Path], AbstractContextManager[Any]]] = {
            "boot to first answer": partial(booted, setup),
            "clone to first answer": partial(cloned, frozen),
            "clone runs on": partial(template.thawed, frozen),
        }
        load, cpus = os.getloadavg()[0], os.cpu_count()
        print(f"{name} by {setup.accelerator.name}, load {load:.1f} on {cpus} processors")
        medians = []
        for what, start in rows.items():
            taken = measured(start, options.repeat)
            medians.append(statistics.median(taken))
            spread = f"({min(taken):.2f} to {max(taken):.2f}, {len(taken)} times)"
            print(f"  {what:24}{medians[-1]:6.2f} s  {spread}, {medians[-1] / medians[0]:.2f} of a boot")


if __name__ == "__main__":
    main()
