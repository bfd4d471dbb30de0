# SPDX-License-Identifier: GPL-2.0-only
"""The guest's initramfs: Debian's busybox and dropbear, our programs compiled statically, and /init."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from toolkit import places, run
from toolkit.deadline import Deadline
from toolkit.errors import BuildError, HostError, ProgramError
from toolkit.kernel.arch import Arch
from toolkit.render import render
from toolkit.rig import cpio, packages
from toolkit.store import Store

# What the guest's init prints before a phase's name.
MARKER = "pageless"
# QEMU's user network: the guest's address, and where whoever started the guest is to it.
ADDRESS = "10.0.2.15/24"
HOST_ADDRESS, SSH_PORT = "10.0.2.100", 22

_PACKAGES = ("busybox-static", "dropbear-bin")
_PROGRAMS = ("usr/bin/busybox", "usr/sbin/dropbear", "usr/bin/dropbearkey")
_DIRECTORIES = (
    "dev",
    "etc",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr",
    "usr/bin",
    "usr/lib",
    "usr/lib64",
    "usr/sbin",
    "var",
)
_PRIVATE = ("root",)
_MERGED = ("bin", "lib", "lib64", "sbin")
_CFLAGS = ("-static", "-s", "-O2", "-std=gnu11", "-Wall", "-Werror", "-pthread")
# Counts how the archive is put together: raise it when that changes.
_LAYOUT = 2


@dataclass(frozen=True)
class Userland:
    """Unpacked packages of one architecture: `root` holds their files, `versions` one line a package."""

    root: Path
    versions: str


def initramfs(arch: Arch, store: Store, *, deadline: Deadline) -> Path:
    """The initramfs for `arch`, built if none with the same contents is in the store."""
    base = userland(arch, store, deadline=deadline)
    sources = guest_sources()
    init = render(
        places.declared("rigs") / "guest" / "init.j2",
        marker=MARKER,
        address=ADDRESS,
        host_address=HOST_ADDRESS,
        ssh_port=SSH_PORT,
        hostname=f"pageless-{arch.name.replace('_', '-')}",
        # How much dropbear lets us send ahead; its default of 24 KiB is slow for files.
        window_bytes=1 << 20,
    )
    compiler = f"{arch.triplet}-gcc"
    version = run.run([compiler, "--version"], deadline=deadline).stdout.partition("\n")[0]
    parts = [str(_LAYOUT), arch.name, base.versions, init, version, " ".join(_CFLAGS)]
    key = _digest(*parts, *(f"{path.name}\n{path.read_text(encoding='utf-8')}" for path in sources))

    def make(into: Path) -> None:
        programs = {
            path.stem: compile_program(path, into, compiler, deadline).read_bytes()
            for path in sources
            if path.suffix == ".c"
        }
        for name in programs:
            (into / name).unlink()
        archive = cpio.pack(_entries(base.root, init, programs, deadline))
        (into / "initramfs.cpio").write_bytes(archive)

    return store.publish("initramfs", key, make) / "initramfs.cpio"


def userland(arch: Arch, store: Store, *, deadline: Deadline) -> Userland:
    """Debian's programs and libraries for `arch`, as fetched the first time they were asked for."""

    def make(into: Path) -> None:
        (into / "packages").mkdir()
        fetched = packages.download(_PACKAGES, arch.debian_arch, into / "packages", deadline=deadline)
        packages.unpack(fetched, into / "root", deadline=deadline)
        shutil.rmtree(into / "packages")
        versions = "".join(f"{package.name} {package.version}\n" for package in fetched)
        (into / "versions").write_text(versions, encoding="utf-8")

    path = store.publish("userland", _digest(arch.debian_arch, *_PACKAGES), make)
    return Userland(path / "root", (path / "versions").read_text(encoding="utf-8"))


def guest_sources() -> tuple[Path, ...]:
    """The guest's programs (each C file is one) and the headers they share."""
    guest = places.declared("rigs") / "guest"
    return tuple(sorted((*guest.glob("*.c"), *guest.glob("*.h"))))


def compile_program(source: Path, into: Path, compiler: str, deadline: Deadline) -> Path:
    """Compile one guest program statically; BuildError holds the compiler's words."""
    program = into / source.stem
    try:
        run.run([compiler, *_CFLAGS, "-o", program, source], deadline=deadline)
    except ProgramError as error:
        raise BuildError(f"{source} does not compile", detail=error.detail) from error
    return program


def _entries(
    root: Path, init: str, programs: Mapping[str, bytes], deadline: Deadline
) -> Iterator[cpio.Entry]:
    """What is in the archive: Debian's files by their own names, merged below /usr."""
    files = _merged_files(root)
    wanted = _with_libraries(_PROGRAMS, files, deadline)
    parents = {str(parent) for name in wanted for parent in Path(name).parents} - {"."}
    for path in sorted({*_DIRECTORIES, *parents}):
        yield cpio.directory(path, 0o700 if path in _PRIVATE else 0o755)
    for name in _MERGED:
        yield cpio.symlink(name, f"usr/{name}")
    # The kernel opens it for init before devtmpfs is there.
    yield cpio.character_device("dev/console", 5, 1)
    # No password: see init for who can reach its ssh.
    yield cpio.file("etc/passwd", b"root::0:0:root:/root:/bin/sh\n")
    yield cpio.file("etc/group", b"root:x:0:\n")
    yield cpio.file("etc/shells", b"/bin/sh\n")
    # busybox init takes over when ours is done: it has nothing to start, only to reap.
    yield cpio.file("etc/inittab", b"# nothing\n")
    for name in sorted(wanted):
        yield cpio.file(name, files[name].read_bytes(), 0o755)
    for name, data in sorted(programs.items()):
        yield cpio.file(f"usr/bin/{name}", data, 0o755)
    yield cpio.file("init", init.encode(), 0o755)


def _merged_files(root: Path) -> dict[str, Path]:
    """Every file below `root` by where it is in the guest, where /bin, /lib and so on are links to /usr."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.is_file():
            inside = name if name.parts[0] not in _MERGED else "usr" / name
            found[str(inside)] = path
    return found


def _with_libraries(programs: Iterable[str], files: Mapping[str, Path], deadline: Deadline) -> set[str]:
    """`programs`, the interpreters and libraries they need, and what those need."""
    by_soname = {Path(name).name: name for name in files if ".so" in Path(name).name}
    wanted: set[str] = set()
    pending = list(programs)
    while pending:
        name = pending.pop()
        if name in wanted:
            continue
        if name not in files:
            raise HostError(f"Debian's packages hold no {name}, which the guest needs")
        wanted.add(name)
        pending += [by_soname[library] for library in _needed(files[name], deadline)]
    return wanted


def _needed(binary: Path, deadline: Deadline) -> list[str]:
    """The file names of the shared libraries and of the interpreter that an ELF file asks for."""
    text = run.run(["readelf", "--wide", "--dynamic", "--program-headers", binary], deadline=deadline).stdout
    libraries = re.findall(r"\(NEEDED\).*\[(.+)\]", text)
    return libraries + [Path(name).name for name in re.findall(r"program interpreter: (.+)\]", text)]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
