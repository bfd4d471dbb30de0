# SPDX-License-Identifier: GPL-2.0-only
"""Templates: a guest booted once and frozen; every clone of it starts in its memory, copied on write."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from toolkit import places, run
from toolkit.deadline import Deadline
from toolkit.errors import QemuError
from toolkit.rig import console as consoles
from toolkit.rig import qemu as qemus
from toolkit.rig import splats, ssh
from toolkit.rig.console import Console
from toolkit.rig.monitor import Monitor
from toolkit.rig.qemu import Memory, Qemu, Setup
from toolkit.rig.qemu_guest import QemuGuest, answering, explained, wait_booted
from toolkit.rig.splats import Kind
from toolkit.store import Store

logger = logging.getLogger(__name__)

_KIND = "template"
# Each takes what its guest had touched when it was frozen, 60 to 100 MiB.
_KEPT = 8
_TMPFS = Path("/dev/shm")
# A guest stops, and its devices are written or read, within this on a busy host.
_MIGRATION_S = 300.0


@dataclass(frozen=True)
class Template:
    """A frozen guest: a directory with its memory, the state of its devices and its ssh's greeting."""

    setup: Setup
    path: Path

    @property
    def memory(self) -> Path:
        return self.path / "memory"

    @property
    def state(self) -> Path:
        return self.path / "state"

    @property
    def greeting(self) -> Path:
        """What its ssh server had said: each clone begins with the answer to that."""
        return self.path / "greeting"

    @property
    def console(self) -> Path:
        """What the console showed while it booted."""
        return self.path / "console.log"


def key(setup: Setup) -> str:
    """What tells one template from another: all that shapes the guest, files by their content."""
    version = run.run([setup.arch.qemu, "--version"], deadline=Deadline.after(30.0)).stdout
    nameless = dataclasses.replace(setup, kernel=Path("kernel"), initramfs=Path("initramfs"))
    shape = qemus.argv(nameless, console="null", control="null")
    hashed = hashlib.sha256(json.dumps([version, shape]).encode())
    for path in (setup.kernel, setup.initramfs):
        with path.open("rb") as file:
            hashed.update(hashlib.file_digest(file, "sha256").digest())
    return hashed.hexdigest()


def template(setup: Setup, *, deadline: Deadline, store: Store | None = None) -> Template:
    """The template of `setup`, booted and frozen if there is none yet.

    Raises what `qemu_guest.boot` raises.  The calling thread must not end meanwhile.
    """
    kept = store or default_store(setup.machine.memory_mib)
    name = key(setup)
    found = kept.find(_KIND, name)
    if found is None:
        evict(kept, _KEPT - 1)
        found = kept.publish(_KIND, name, lambda into: _freeze(setup, into, deadline))
    else:
        # Whoever makes another meanwhile evicts those that were not wanted for longest.
        with contextlib.suppress(FileNotFoundError):
            os.utime(found / "lock")
    return Template(setup, found)


def default_store(memory_mib: int) -> Store:
    """Where templates live: on tmpfs if it has room for one of that size, else below the cache."""
    root = _TMPFS / f"pageless-{os.getuid()}"
    try:
        root.mkdir(mode=0o700, exist_ok=True)
        seen = root.lstat()
        ours = stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.getuid() and not seen.st_mode & 0o077
        if ours and shutil.disk_usage(root).free > 2 * memory_mib << 20:
            return Store(root)
    except OSError as error:
        logger.debug("no templates on tmpfs: %s", error)
    return Store(places.cache_dir() / "store")


def evict(store: Store, keep: int) -> None:
    """Remove the templates that were not used for longest, so that at most `keep` stay.

    One that a clone is being started from stays; clones that run do not need it any more.
    """
    directory = store.root / _KIND
    found = [path for path in directory.glob("*") if path.is_dir() and not path.name.startswith(".")]
    for path in sorted(found, key=_last_use, reverse=True)[keep:]:
        with contextlib.suppress(FileNotFoundError), (path / "lock").open("r") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(path, ignore_errors=True)


def _last_use(path: Path) -> float:
    try:
        return (path / "lock").stat().st_mtime
    except FileNotFoundError:
        return 0.0


@contextlib.contextmanager
def clone(source: Template, directory: Path, *, deadline: Deadline) -> Iterator[QemuGuest]:
    """A guest that starts where the template was frozen, as long as the context.

    What it does is seen by no other clone.  Its clock and its random numbers are its own
    before the first command of the caller.  QemuError if the template was evicted.
    """
    with (
        thawed(source, directory) as (qemu, console),
        answering(source.setup, qemu, console, deadline=deadline) as guest,
    ):
        yield guest


@contextlib.contextmanager
def thawed(source: Template, directory: Path) -> Iterator[tuple[Qemu, Console]]:
    """A QEMU whose guest runs on from where the template was frozen: nobody has spoken to it yet."""
    with contextlib.ExitStack() as stack:
        with in_use(source) as state:
            memory = Memory(source.memory, shared=False)
            said = source.greeting.read_bytes()
            qemu = stack.enter_context(
                qemus.running(source.setup, directory, memory=memory, incoming=True, said=said)
            )
            console = stack.enter_context(
                consoles.following(qemu.console, directory / "console.log", booted=True)
            )
            _ignore_shared(qemu.monitor)
            # A file, not a command that reads or writes one: the sandbox lets QEMU start none.
            qemu.monitor.give("state", state)
            qemu.monitor.execute("migrate-incoming", uri="fd:state")
            _wait_migrated(qemu.monitor, Deadline.after(_MIGRATION_S))
        qemu.monitor.execute("cont")
        yield qemu, console


@contextlib.contextmanager
def in_use(source: Template) -> Iterator[BinaryIO]:
    """The open state of a template that nobody evicts meanwhile, marked as just used."""
    try:
        with (source.path / "lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            os.utime(lock.fileno())
            with source.state.open("rb") as state:
                yield state
    except FileNotFoundError:
        raise QemuError(f"the template {source.path} was evicted", hint="ask for it again") from None


def _freeze(setup: Setup, into: Path, deadline: Deadline) -> None:
    """Boot a guest whose memory is a file, stop it once its ssh waits for us, and keep its devices' state."""
    memory = Memory(into / "memory", shared=True)
    with contextlib.ExitStack() as stack:
        state = stack.enter_context((into / "state").open("wb"))
        qemu = stack.enter_context(qemus.running(setup, into, memory=memory))
        console = stack.enter_context(consoles.following(qemu.console, into / "console.log"))
        wait_booted(qemu, console, deadline)
        with explained(setup, qemu, console):
            (into / "greeting").write_bytes(ssh.greeting(qemu.ssh, deadline=deadline))
        (into / "lock").touch()
        qemu.monitor.execute("stop")
        _ignore_shared(qemu.monitor)
        qemu.monitor.give("state", state)
        qemu.monitor.execute("migrate", uri="fd:state")
        _wait_migrated(qemu.monitor, Deadline.after(_MIGRATION_S))
        stalls = [found for found in splats.find_reports(console.text()) if found.kind is Kind.SLOW_HOST]
        if stalls:
            # All its clones would have that in their log.
            raise QemuError(
                f"a guest to be cloned was too slow: {stalls[0].title}",
                hint="try again when the host is less busy, or boot each guest: --no-template",
            )


def _ignore_shared(control: Monitor) -> None:
    """Leave memory that is in a file out of the migrated state, and tell of its progress."""
    wanted = [{"capability": name, "state": True} for name in ("x-ignore-shared", "events")]
    control.execute("migrate-set-capabilities", capabilities=wanted)


def _wait_migrated(control: Monitor, deadline: Deadline) -> None:
    end = control.wait_event("MIGRATION", lambda data: data["status"] in ("completed", "failed"), deadline)
    if end is None or end["status"] == "failed":
        told = control.execute("query-migrate").get("error-desc", "no reason given")
        raise QemuError(f"QEMU could not move the guest's state: {told}")
