# SPDX-License-Identifier: GPL-2.0-only
"""How long until a guest answers: booted, and cloned.  Prints a table; judges nothing.

python benchmarks/boot.py [--repeat N] [ARCHITECTURE...]
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from toolkit.deadline import Deadline
from toolkit.kernel import arch as arches
from toolkit.kernel import build, kconfig, source
from toolkit.rig import image, machine, qemu_guest, template
from toolkit.rig.accelerator import accelerator
from toolkit.rig.qemu import Setup
from toolkit.rig.qemu_guest import QemuGuest
from toolkit.store import default_store

logger = logging.getLogger("boot")

KERNEL = "6.1"
LIMIT_S = 900.0


def prepared(name: str) -> Setup:
    """The plain kernel on the default machine, from the cache if it is there."""
    arch = arches.load(name)
    tree = source.fetch(source.load(KERNEL), progress=logger.info)
    config = build.configure(tree, arch, kconfig.compose("base", arch, tree.release), progress=logger.info)
    kernel = build.build(tree, arch, config, progress=logger.info)
    initramfs = image.initramfs(arch, default_store(), deadline=Deadline.after(LIMIT_S))
    return Setup(arch, machine.load("default"), accelerator(arch), kernel.image, initramfs)


def measured(start: Callable[..., AbstractContextManager[QemuGuest]], repeat: int) -> str:
    """Seconds from the start of QEMU to the answer of a first command: median and range."""
    taken = []
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as name:
            begun = time.monotonic()
            with start(Path(name), deadline=Deadline.after(LIMIT_S)) as guest:
                guest.execute("true", deadline=Deadline.after(LIMIT_S))
                taken.append(time.monotonic() - begun)
    return f"{statistics.median(taken):6.2f} s  ({min(taken):.2f} to {max(taken):.2f}, {repeat} times)"


def main() -> None:
    parser = argparse.ArgumentParser(description="How long until a guest answers.")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("archs", nargs="*", default=arches.names(), metavar="ARCHITECTURE")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name in options.archs:
        setup = prepared(name)
        frozen = template.template(setup, deadline=Deadline.after(LIMIT_S))
        rows = {
            "boot to first answer": measured(partial(qemu_guest.boot, setup), options.repeat),
            "clone to first answer": measured(partial(template.clone, frozen), options.repeat),
        }
        load, cpus = os.getloadavg()[0], os.cpu_count()
        print(f"{name} by {setup.accelerator.name}, load {load:.1f} on {cpus} processors")
        for what, figures in rows.items():
            print(f"  {what:24}{figures}")


if __name__ == "__main__":
    main()
