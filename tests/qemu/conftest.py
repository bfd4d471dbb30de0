# SPDX-License-Identifier: GPL-2.0-only
"""Guests for tests: the oldest kernel of the project, as it is, on every architecture.

Kernels, images and templates come from the user's cache, so that only the first run
builds and boots; each test has a clone of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolkit.deadline import Deadline
from toolkit.kernel import arch as arches
from toolkit.kernel import build, kconfig, source
from toolkit.kernel.arch import Arch
from toolkit.rig import image, machine, template
from toolkit.rig.accelerator import accelerator
from toolkit.rig.qemu import Setup
from toolkit.rig.qemu_guest import QemuGuest
from toolkit.rig.template import Template
from toolkit.store import default_store

logger = logging.getLogger(__name__)

KERNEL = "6.1"
IMAGE_S = 600.0
# Emulated, on a host that compiles something else.
BOOT_S = 300.0
CLONE_S = 120.0


@pytest.fixture(scope="session", params=arches.names())
def arch(request: pytest.FixtureRequest) -> Arch:
    return arches.load(request.param)


@pytest.fixture(scope="session")
def setup(arch: Arch) -> Setup:
    """The default machine with a plain kernel."""
    tree = source.fetch(source.load(KERNEL), progress=logger.info)
    wanted = kconfig.compose("base", arch, tree.release)
    kernel = build.build(
        tree, arch, build.configure(tree, arch, wanted, progress=logger.info), progress=logger.info
    )
    return Setup(
        arch=arch,
        machine=machine.load("default"),
        accelerator=accelerator(arch),
        kernel=kernel.image,
        initramfs=image.initramfs(arch, default_store(), deadline=Deadline.after(IMAGE_S)),
    )


@pytest.fixture(scope="session")
def frozen(setup: Setup) -> Template:
    return template.template(setup, deadline=Deadline.after(BOOT_S))


@pytest.fixture
def guest(frozen: Template, tmp_path: Path) -> Iterator[QemuGuest]:
    """A pristine guest."""
    with template.clone(frozen, tmp_path, deadline=Deadline.after(CLONE_S)) as made:
        yield made
