# SPDX-License-Identifier: GPL-2.0-only
"""Artefacts found by their content's key (kernels, images, templates), published atomically, and locks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit import places
from toolkit.errors import StoreError

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_+.-]*")

# What the user has to mend before a second try makes sense.
_REMEDIES = {
    errno.ENOSPC: "free some space there, or let XDG_CACHE_HOME point to a larger disk",
    errno.EDQUOT: "free some space there, or let XDG_CACHE_HOME point to a larger disk",
    errno.EACCES: "make it writable for this user, or let XDG_CACHE_HOME point elsewhere",
    errno.EPERM: "make it writable for this user, or let XDG_CACHE_HOME point elsewhere",
    errno.EROFS: "let XDG_CACHE_HOME point to a file system that is writable",
}


@dataclass(frozen=True)
class Store:
    """Directories `root`/<kind>/<key>/, each written once and then only read."""

    root: Path

    def find(self, kind: str, key: str) -> Path | None:
        """The published directory of `key`, or None."""
        path = self._path(kind, key)
        return path if path.is_dir() else None

    def publish(self, kind: str, key: str, make: Callable[[Path], None]) -> Path:
        """The directory of `key`, filled by `make(empty directory)` if it is not there yet.

        Of several runs at once one calls `make` and the others wait for it.  A directory
        appears whole or not at all: whatever `make` raises, nothing is left behind, and
        what a killed run left is removed by the next one.  A full, read-only or forbidden
        file system raises StoreError.
        """
        final = self._path(kind, key)
        if final.is_dir():
            return final
        parent = final.parent
        with as_store_error(parent):
            parent.mkdir(parents=True, exist_ok=True)
            with _locked(_lock_of(final), f"{kind} {key[:12]}"):
                if final.is_dir():
                    return final
                _sweep(parent)
                temporary = _temporary_of(final)
                temporary.mkdir()
                try:
                    make(temporary)
                    _sync(temporary)
                    temporary.rename(final)
                    _sync_one(parent)
                except BaseException:
                    shutil.rmtree(temporary, ignore_errors=True)
                    raise
        return final

    def _path(self, kind: str, key: str) -> Path:
        for word in (kind, key):
            if not _NAME.fullmatch(word):
                raise ValueError(f"not a name for the store: {word!r}")
        return self.root / kind / key


def default_store() -> Store:
    """The store below the user's cache directory."""
    return Store(places.cache_dir() / "store")


@contextlib.contextmanager
def as_store_error(where: Path) -> Iterator[None]:
    """Turn an OSError that says the disk is full or forbidden into StoreError; others pass."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        if remedy is None:
            raise
        place = error.filename or where
        raise StoreError(f"cannot write {place}: {os.strerror(error.errno or 0)}", hint=remedy) from error


@contextlib.contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Hold the lock `name` below the cache directory; says so when it has to wait for another run."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name for a lock: {name!r}")
    directory = places.cache_dir() / "locks"
    with as_store_error(directory):
        directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory / f"{name}.lock", name):
        yield


@contextlib.contextmanager
def _locked(path: Path, what: str) -> Iterator[None]:
    """The exclusive lock on `path`, which is left behind: to remove it would race with who opens it."""
    with as_store_error(path):
        handle = path.open("ab")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.warning("waiting for another run to finish with %s", what)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _lock_of(final: Path) -> Path:
    return final.with_name(f".{final.name}.lock")


def _temporary_of(final: Path) -> Path:
    return final.with_name(f".{final.name}.new")


def _sweep(parent: Path) -> None:
    """Remove what killed runs left half made: a temporary directory whose lock nobody holds."""
    for temporary in parent.glob(".*.new"):
        final = temporary.with_name(temporary.name[1 : -len(".new")])
        with _lock_of(final).open("ab") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            logger.info("removing what an interrupted run left: %s", temporary)
            shutil.rmtree(temporary, ignore_errors=True)


def _sync(directory: Path) -> None:
    """Let everything below `directory` reach the disk before its name does."""
    for root, _, files in os.walk(directory):
        for name in files:
            path = Path(root, name)
            if not path.is_symlink():
                _sync_one(path)
        _sync_one(Path(root))


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
