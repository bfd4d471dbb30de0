# SPDX-License-Identifier: GPL-2.0-only
"""Kernel sources as Debian packages: the installed copy, or what apt offers, also from another suite."""

from __future__ import annotations

import fnmatch
import logging
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from toolkit import places, saved, store
from toolkit.deadline import Deadline
from toolkit.errors import HostError, ProgramError, SourceError
from toolkit.run import Completed, require, run

logger = logging.getLogger(__name__)

# A quarter of a gigabyte over a slow line.
_DOWNLOAD_LIMIT_S = 3600.0
_QUERY_LIMIT_S = 1800.0
# How old our own package lists may be before they are fetched again.
_LISTS_MAX_AGE_S = 24 * 3600.0
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class Package:
    """A version of a source package, and the apt that offers it (None: it is installed)."""

    name: str
    version: str
    apt: Apt | None = None

    @contextmanager
    def tarball(self, progress: Callable[[str], None]) -> Iterator[Path]:
        """The verified tarball of the sources, for as long as the context lasts."""
        if self.apt is None:
            progress(f"verifying {self.name} {self.version}")
            changed = run(["dpkg", "--verify", self.name], deadline=_soon(), ok=None).stdout
            if ".tar." in changed:
                raise SourceError(
                    f"the installed {self.name} {self.version} is damaged",
                    hint=f"apt-get install --reinstall {self.name}",
                    detail=changed,
                )
            yield _find_tarball(Path("/usr/src"), self.name)
            return
        directory = places.cache_dir() / "downloads"
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory) as name:
            progress(f"downloading {self.name} {self.version}")
            self.apt.download(self, Path(name))
            progress(f"unpacking {self.name} {self.version}")
            (deb,) = Path(name).glob("*.deb")
            run([require("dpkg-deb"), "-x", deb, Path(name, "unpacked")], deadline=_soon())
            deb.unlink()
            yield _find_tarball(Path(name, "unpacked/usr/src"), self.name)


@dataclass(frozen=True)
class Apt:
    """apt with the host's package lists, or with private ones of our own (`options`) that need no root."""

    options: tuple[str, ...] = ()
    lists: Path | None = None

    def candidate(self, pattern: str) -> tuple[str, str] | None:
        """Name and version of the newest package whose name matches `pattern`, or None."""
        matching = [pattern]
        if "*" in pattern:
            names = self._query("apt-cache", "pkgnames", pattern.split("*")[0]).stdout.split()
            matching = [name for name in names if fnmatch.fnmatchcase(name, pattern) and _release(name)]
        for name in sorted(matching, key=_release, reverse=True):
            policy = self._query("apt-cache", "policy", name).stdout
            version = re.search(r"^ *Candidate: (\S+)$", policy, re.MULTILINE)
            if version is not None and version[1] != "(none)":
                return name, version[1]
        return None

    def download(self, package: Package, directory: Path) -> None:
        """Fetch the package into `directory`; apt checks it against the signed lists."""
        words = ("apt-get", *self.options, "download", f"{package.name}={package.version}")
        deadline = Deadline.after(_DOWNLOAD_LIMIT_S)
        try:
            # The directory is ours: without this, apt as root would try it as user _apt and complain.
            run([*words, "-o", "APT::Sandbox::User=root"], deadline=deadline, cwd=directory)
        except ProgramError as error:
            raise HostError(
                f"cannot download {package.name} {package.version}",
                hint="if the mirror has a newer version by now: apt-get update, then try again",
                detail=error.detail,
            ) from error

    def update(self, progress: Callable[[str], None]) -> None:
        """Fetch our own package lists unless they are fresh."""
        if self.lists is None:
            return
        stamp = self.lists / "updated"
        with store.exclusive(f"apt-{self.lists.name}"):
            if stamp.exists() and time.time() - stamp.stat().st_mtime < _LISTS_MAX_AGE_S:
                return
            progress("reading the package lists")
            try:
                run(["apt-get", *self.options, "update"], deadline=Deadline.after(_DOWNLOAD_LIMIT_S))
            except ProgramError as error:
                if not stamp.exists():
                    raise
                logger.warning("package lists of %s are kept as they are: %s", self.lists.name, error.detail)
                return
            stamp.touch()

    def _query(self, tool: str, *words: str) -> Completed:
        return run([tool, *self.options, *words], deadline=_soon(), ok=None)


def find(pattern: str, suite: str, progress: Callable[[str], None]) -> Package:
    """The package to use: the installed one, else what apt offers here, else in `suite`."""
    require("apt-get")
    if "*" not in pattern:
        installed = _installed_version(pattern)
        if installed is not None:
            return Package(pattern, installed)
    for apt in (Apt(), private("")) if not suite else (private(suite),):
        apt.update(progress)
        found = apt.candidate(pattern)
        if found is not None:
            return Package(*found, apt)
    where = f"the suite {suite}" if suite else "the suites that apt knows here"
    raise SourceError(
        f"{where} offers no package {pattern}",
        hint="give a path to a kernel tree instead, or add a suite that has the package to apt's sources",
    )


def private(suite: str) -> Apt:
    """apt with lists below our cache: of the host's own sources, or of another `suite` of its mirror."""
    name = suite or "host"
    root = places.cache_dir() / "apt" / name
    for directory in ("state/lists/partial", "cache/archives/partial"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    options = [
        "-o", f"Dir::State={root}/state",
        "-o", f"Dir::Cache={root}/cache",
        "-o", "Dir::State::Status=/var/lib/dpkg/status",
        "-o", "Acquire::Languages=none",
        "-o", "APT::Sandbox::User=root",
    ]  # fmt: skip
    if suite:
        source_list = root / "sources.list"
        source = f"deb [signed-by={_KEYRING}] {_mirror()} {suite} main\n"
        # Others may read it just now: without its line, apt would offer them an older package.
        if not source_list.exists() or source_list.read_text(encoding="utf-8") != source:
            saved.write_text(source_list, source)
        options += ["-o", f"Dir::Etc::SourceList={source_list}", "-o", "Dir::Etc::SourceParts=/dev/null"]
    return Apt(tuple(options), root)


def _mirror() -> str:
    """The Debian mirror that this host's apt uses for its own release."""
    release = _os_release().get("VERSION_CODENAME", "")
    targets = run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)", "Created-By: Packages"],
        deadline=_soon(),
        ok=None,
    ).stdout
    for line in targets.splitlines():
        site, _, rest = line.partition(" ")
        if rest == f"{release} main":
            return site
    raise HostError(
        f"apt's sources name no mirror of {release or 'this system'}",
        hint="this needs Debian; elsewhere give a path to a kernel tree",
    )


def _os_release() -> dict[str, str]:
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines())
    return {key: value.strip('"') for key, _, value in pairs}


def _installed_version(name: str) -> str | None:
    done = run(
        ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Version}", name],
        deadline=_soon(),
        ok=None,
    )
    status, _, version = done.stdout.partition(" ")
    return version if done.status == 0 and status == "installed" else None


def _find_tarball(directory: Path, name: str) -> Path:
    found = sorted(directory.glob(f"{name}.tar.*"))
    if len(found) != 1:
        raise SourceError(f"the package {name} has no tarball of its own in {directory}")
    return found[0]


def _release(name: str) -> tuple[int, ...]:
    """The numbers at the end of a name like linux-source-7.2; empty for any other name."""
    match = re.fullmatch(r"\D+?(\d+(?:\.\d+)*)", name)
    return tuple(map(int, match[1].split("."))) if match else ()


def _soon() -> Deadline:
    return Deadline.after(_QUERY_LIMIT_S)
