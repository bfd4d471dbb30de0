# SPDX-License-Identifier: GPL-2.0-only
"""Architectures: one file in rigs/arch/ each; nothing else in the package names one."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from toolkit import declare, places


@dataclass(frozen=True)
class Registers:
    """General registers by their number in gdb's description of the architecture, 8 bytes each."""

    # The next instruction's address, and the stack pointer.
    pc: int
    sp: int
    # A function's first arguments, and what it returns.
    arguments: tuple[int, ...]
    result: int
    # Where a called function finds its return address; None if it is on top of the stack.
    link: int | None = None


@dataclass(frozen=True)
class Arch:
    """How one architecture is built for and booted."""

    # The name users type, after its file: "x86_64", "arm64".
    name: str
    # The kernel's own name, for make's ARCH=.
    kernel_arch: str
    # Its directory below arch/ in the kernel.
    source_arch: str
    # Debian's name, for packages that end up in the guest.
    debian_arch: str
    # The GNU triplet: the prefix of the cross compiler and of library directories.
    triplet: str
    # What platform.machine() says on a host that builds natively.
    host_machine: str
    # The file below the build directory that QEMU is given; its name is the make target.
    # The x86 vmlinux boots directly by PVH, which spares compressing it.
    kernel_image: str
    # The compiler's prefix for 16K and 64K is the same: a page size is a fragment's matter.
    qemu: str
    qemu_machine: str
    # The model of processor under TCG; "host" is used under KVM.
    tcg_cpu: str
    console: str
    # Firmware that does what a kernel needs, then writes "K" to the serial line, in hex, and where
    # in a 64 KiB image it starts: whether guests really run is tried with it.
    probe_code: str
    probe_offset: int
    # Appended to the kernel's command line.
    append: str
    # Guest devices by their role ("net", "rng", ...), as QEMU spells them here, options included.
    devices: Mapping[str, str]
    # The Debian package of `qemu`.
    qemu_package: str
    registers: Registers
    # The same for a kernel with KASAN, if it takes another.
    kasan_image: str = ""
    # Whether QEMU only writes the kernel to the guest's memory, and no device of the guest holds it:
    # a clone's QEMU then need not read it, which took half of its start.
    kernel_in_memory: bool = False
    # Whether memory that the kernel was booted with never goes offline.
    boot_memory_stays: bool = False
    # Of qemu_machine: puts what is more than so many MiB above 4 GiB, and so into another zone; if it can.
    low_memory: str = ""

    @property
    def native(self) -> bool:
        """Whether this host is of this architecture."""
        return platform.machine() == self.host_machine

    @property
    def cross_compile(self) -> str:
        """The prefix for CROSS_COMPILE=, empty on a native host."""
        return "" if self.native else f"{self.triplet}-"

    @property
    def static_libc(self) -> Path:
        """The C library that the guest's programs are linked with, where Debian has it."""
        if self.native:
            return Path(f"/usr/lib/{self.triplet}/libc.a")
        return Path(f"/usr/{self.triplet}/lib/libc.a")

    @property
    def libc_package(self) -> str:
        """The Debian package of `static_libc`."""
        return "libc6-dev" if self.native else f"libc6-dev-{self.debian_arch}-cross"


def directory() -> Path:
    return places.declared("rigs") / "arch"


def load(name: str) -> Arch:
    """The architecture `name`, or UnknownNameError."""
    return declare.load(Arch, declare.find("architecture", directory(), name))


def names() -> tuple[str, ...]:
    return declare.names(directory())
