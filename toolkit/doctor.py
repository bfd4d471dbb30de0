# SPDX-License-Identifier: GPL-2.0-only
"""What the host needs, what of it is missing, and the one command that installs it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from toolkit import places, run
from toolkit.deadline import Deadline
from toolkit.errors import HostError, InputError, MissingToolError
from toolkit.kernel import arch as arches
from toolkit.kernel import build
from toolkit.rig.accelerator import accelerator

# A cold run of the main job leaves about this much in the cache: a source repository,
# a work tree per architecture and configuration, objects in ccache, kernels and images.
DISK_NEEDED_MIB = 8 * 1024

# Guests keep their memory here, so that clones start from it copy-on-write.
SHARED_MEMORY_NEEDED_MIB = 1024


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.  `package` is what would mend it, if a package can."""

    name: str
    ok: bool
    found: str
    package: str = ""


def examine() -> tuple[Finding, ...]:
    """Look at all that building and booting needs on this host."""
    return (*_requirements(), *_room(), *_accelerators())


def missing_packages(findings: Iterable[Finding]) -> tuple[str, ...]:
    """Debian packages that would mend what is not ok, sorted."""
    return tuple(sorted({finding.package for finding in findings if not finding.ok and finding.package}))


def install_command(packages: Iterable[str]) -> tuple[str, ...]:
    return ("apt-get", "install", "-y", "--no-install-recommends", *packages)


def install(packages: tuple[str, ...], say: Callable[[str], None]) -> None:
    """Install packages; InputError if not root, HostError where apt fails or is absent."""
    if os.geteuid() != 0:
        raise InputError("installing packages needs root", hint=f"sudo {' '.join(install_command(packages))}")
    if shutil.which("apt-get") is None:
        raise MissingToolError(
            "this host has no apt-get", hint=f"install what these Debian packages hold: {' '.join(packages)}"
        )
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    for argv in (("apt-get", "update"), install_command(packages)):
        done = run.run(argv, deadline=Deadline.after(1800), env=env, on_line=say, ok=None)
        if done.status != 0:
            raise HostError(f"{' '.join(argv)} failed", detail=done.stdout[-3000:])


def _requirements() -> tuple[Finding, ...]:
    wanted = {
        build.Requirement(tool, run.package_of(tool)) for tool in ("apt-get", "cpio", "dpkg-deb", "setpriv")
    }
    for arch in map(arches.load, arches.names()):
        wanted.update(build.toolchain_requirements(arch))
        wanted.add(build.Requirement(arch.qemu, arch.qemu_package))
        # The guest's programs are linked statically, against the C library of their architecture.
        wanted.add(build.Requirement(str(arch.static_libc), arch.libc_package))
    return tuple(
        Finding(need.tool, need.present, "installed" if need.present else "not installed", need.package)
        for need in sorted(wanted)
    )


def _room() -> tuple[Finding, ...]:
    cache = places.cache_dir()
    free_mib = places.free_mib(cache)
    shm_mib = shutil.disk_usage("/dev/shm").free >> 20 if os.path.isdir("/dev/shm") else 0  # noqa: PTH112
    return (
        Finding("disk space", free_mib >= DISK_NEEDED_MIB, f"{free_mib} MiB free for {cache}"),
        Finding("shared memory", shm_mib >= SHARED_MEMORY_NEEDED_MIB, f"{shm_mib} MiB free in /dev/shm"),
    )


def _accelerators() -> tuple[Finding, ...]:
    findings = []
    for name in arches.names():
        arch = arches.load(name)
        if shutil.which(arch.qemu) is None:
            continue
        chosen = accelerator(arch)
        findings.append(Finding(f"accelerator for {name}", True, f"{chosen.name} ({chosen.why})"))
    return tuple(findings)
