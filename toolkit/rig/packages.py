# SPDX-License-Identifier: GPL-2.0-only
"""Debian packages of any architecture, fetched as the host's own apt would, but with a private state."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit import places, run
from toolkit.deadline import Deadline
from toolkit.errors import HostError, ProgramError


@dataclass(frozen=True)
class Package:
    """One package file, as it was downloaded."""

    name: str
    version: str
    path: Path


def download(
    names: Sequence[str], debian_arch: str, into: Path, *, deadline: Deadline
) -> tuple[Package, ...]:
    """Download packages and all they depend on for `debian_arch` into a directory, sorted by name.

    Works without root and for a foreign architecture: the archives are those that the
    host's apt lists as Debian's, their signatures are checked with the host's keys, and
    the lists live below the cache.  HostError if the host lists no Debian archive or
    cannot reach it.
    """
    state = places.cache_dir() / "apt" / f"guest-{debian_arch}"
    (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (into / "partial").mkdir(parents=True, exist_ok=True)
    with _locked(state):
        # An empty status file: everything that is needed counts as not yet installed.
        (state / "status").write_text("", encoding="utf-8")
        (state / "sources.list").write_text(_archives(deadline), encoding="utf-8")
        options = _options(state, debian_arch, into)
        try:
            run.run(["apt-get", *options, "update"], deadline=deadline)
            run.run(
                [
                    "apt-get",
                    *options,
                    "install",
                    "--yes",
                    "--download-only",
                    "--no-install-recommends",
                    *names,
                ],
                deadline=deadline,
            )
        except ProgramError as error:
            raise HostError(
                f"cannot fetch {', '.join(names)} for {debian_arch}",
                hint="check that apt-get update works on this host",
                detail=error.detail,
            ) from error
    (into / "partial").rmdir()
    return tuple(sorted((_package(path) for path in into.glob("*.deb")), key=lambda package: package.name))


def unpack(packages: Sequence[Package], root: Path, *, deadline: Deadline) -> None:
    """Unpack the files of packages below `root`; their scripts do not run."""
    for package in packages:
        run.run(["dpkg-deb", "--extract", package.path, root], deadline=deadline)


def _archives(deadline: Deadline) -> str:
    """The Debian archives that the host's apt uses, as the lines of a sources.list."""
    targets = ["Created-By: Packages", "Origin: Debian"]
    listed = run.run(
        ["apt-get", "indextargets", "--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)", *targets],
        deadline=deadline,
    ).stdout
    lines = sorted(set(listed.splitlines()))
    if not lines:
        raise HostError(
            "this host's apt knows no Debian archive to take the guest's programs from",
            hint="run apt-get update, on Debian",
        )
    return "".join(f"{line}\n" for line in lines)


def _options(state: Path, debian_arch: str, archives: Path) -> list[str]:
    settings = {
        "APT::Architecture": debian_arch,
        "APT::Architectures": debian_arch,
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        # Ours is a lock of its own: apt's needs root.
        "Debug::NoLocking": "1",
        "Dir::Cache": state,
        "Dir::Cache::Archives": archives,
        "Dir::Etc::SourceList": state / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State": state,
        "Dir::State::Lists": state / "lists",
        "Dir::State::Status": state / "status",
    }
    return [f"-o{key}={value}" for key, value in settings.items()]


def _package(path: Path) -> Package:
    """A package by its file's name, `name_version_arch.deb`, where apt writes a colon as %3a."""
    name, version, _ = path.name.split("_", 2)
    return Package(name, version.replace("%3a", ":"), path)


@contextlib.contextmanager
def _locked(state: Path) -> Iterator[None]:
    with (state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
