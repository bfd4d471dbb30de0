# SPDX-License-Identifier: GPL-2.0-only
"""Beside virtme-ng: the same kernel, machine and emulation, until a first command has ended.  Judges nothing.

python benchmarks/virtme.py --vng VNG [--repeat N]     VNG: where pip install virtme-ng put it

virtme-ng shares the host's file system with the guest and has the command run there by the
guest's init; here the command goes over ssh, to a booted guest and to a clone of it.  Both get
a kernel that is the rig's plain one and what virtme-ng needs, on the host's own architecture.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from boot import KERNEL, LIMIT_S, booted, cloned

from toolkit import run
from toolkit.deadline import Deadline
from toolkit.kernel import arch as arches
from toolkit.kernel import build, kconfig, source
from toolkit.rig import image, machine, template
from toolkit.rig.accelerator import accelerator
from toolkit.rig.qemu import Setup
from toolkit.store import default_store

logger = logging.getLogger("virtme")

# What virtme-ng's own list asks for and the plain kernel has not.
NEEDED = """
CONFIG_NETWORK_FILESYSTEMS=y
CONFIG_NET_9P=y
CONFIG_NET_9P_VIRTIO=y
CONFIG_9P_FS=y
CONFIG_INOTIFY_USER=y
CONFIG_OVERLAY_FS=y
CONFIG_SCSI_LOWLEVEL=y
CONFIG_SCSI=y
CONFIG_SCSI_VIRTIO=y
CONFIG_BLK_DEV_SD=y
CONFIG_VIRTIO_CONSOLE=y
CONFIG_FUSE_FS=y
CONFIG_VIRTIO_FS=y
CONFIG_VSOCKETS=y
CONFIG_VIRTIO_VSOCKETS=y
"""


def prepared() -> Setup:
    arch = next(arch for arch in map(arches.load, arches.names()) if arch.native)
    tree = source.fetch(source.load(KERNEL), progress=logger.info)
    wanted = kconfig.compose("base", arch, tree.release, kconfig.parse(NEEDED, "virtme-ng"))
    config = build.configure(tree, arch, wanted, progress=logger.info)
    kernel = build.build(tree, arch, config, progress=logger.info)
    initramfs = image.initramfs(arch, default_store(), deadline=Deadline.after(LIMIT_S))
    return Setup(arch, machine.load("default"), accelerator(arch), kernel.image, initramfs)


def seconds_of_vng(vng: Path, setup: Setup) -> float:
    """From its start to its end, which is the command's; it asks for a terminal, which script gives it."""
    argv = [vng, "--run", setup.kernel, "--force-9p", "--user", "root", "--exec", "true"]
    argv += ["--cpus", str(setup.machine.cpus), "--memory", f"{setup.machine.memory_mib}M"]
    argv += ["--disable-kvm"] if setup.accelerator.emulated else []
    # q35, the machine of our guests.
    argv += ["--disable-microvm"]
    begun = time.monotonic()
    run.run(
        ["script", "--quiet", "--return", "--command", shlex.join(map(str, argv)), os.devnull],
        deadline=Deadline.after(LIMIT_S),
    )
    return time.monotonic() - begun


def seconds_of(start: Callable[..., object], what: object) -> float:
    with tempfile.TemporaryDirectory() as name:
        begun = time.monotonic()
        with start(what, Path(name)):  # type: ignore[attr-defined]
            return time.monotonic() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description="Beside virtme-ng.")
    parser.add_argument("--vng", type=Path, required=True, help="The program vng.")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    setup = prepared()
    frozen = template.template(setup, deadline=Deadline.after(LIMIT_S))
    rows: dict[str, Callable[[], float]] = {
        "virtme-ng": partial(seconds_of_vng, options.vng, setup),
        "pageless, booted": partial(seconds_of, booted, setup),
        "pageless, a clone": partial(seconds_of, cloned, frozen),
    }
    taken: dict[str, list[float]] = {name: [] for name in rows}
    # In turns, so that whatever else the host does meets all of them.
    for _ in range(options.repeat):
        for name, measure in rows.items():
            taken[name].append(measure())
    print(f"{setup.arch.name} by {setup.accelerator.name}, load {os.getloadavg()[0]:.1f}")
    first = statistics.median(taken["virtme-ng"])
    for name, each in taken.items():
        median = statistics.median(each)
        spread = f"({min(each):.2f} to {max(each):.2f}, {len(each)} times)"
        print(f"  {name:20}{median:6.2f} s  {spread}, {median / first:.2f} of virtme-ng's")


if __name__ == "__main__":
    main()
