# SPDX-License-Identifier: GPL-2.0-only
"""Kernel sources: a Debian package or the user's own tree, imported into one git repository."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit import declare, places, store
from toolkit.deadline import Deadline
from toolkit.errors import SourceError, UnknownNameError
from toolkit.kernel import debian, git
from toolkit.run import Completed, require, run

logger = logging.getLogger(__name__)

Progress = Callable[[str], None]


@dataclass(frozen=True)
class KernelSource:
    """Where a kernel tree comes from: a package (of `suite`, if given), or a path."""

    name: str
    # A Debian package; with a "*", the one with the highest number that matches.
    package: str = ""
    # A suite of the Debian mirror that the host's own apt need not list.
    suite: str = ""
    # A git tree, a directory or a tarball; `revision` only for a git tree.
    path: Path | None = None
    revision: str = ""

    def __post_init__(self) -> None:
        if bool(self.package) == (self.path is not None):
            raise ValueError("a kernel needs either a package or a path")


@dataclass(frozen=True)
class Tree:
    """A kernel tree in our git repository; equal content has an equal `tree_id` on every machine."""

    name: str
    # As its Makefile says, for instance "6.1.192" or "6.19.0-rc3".
    version: str
    # Debian's version of the package, empty for a path.
    package_version: str
    git_dir: Path
    commit: str
    tree_id: str

    @property
    def line(self) -> str:
        """The release that the version belongs to: "6.1" for "6.1.192"."""
        return ".".join(self.version.split(".")[:2])

    @property
    def release(self) -> tuple[int, int]:
        """`line` as numbers, for comparisons."""
        major, minor = self.line.split(".")
        return int(major), int(minor)

    @property
    def repository(self) -> git.Repository:
        return git.Repository(self.git_dir)


def directory() -> Path:
    return places.declared("configs") / "kernels"


def names() -> tuple[str, ...]:
    """The declared kernels."""
    return declare.names(directory())


def load(name_or_path: str) -> KernelSource:
    """A declared kernel, or one at a path: git tree, directory, tarball, or PATH@REVISION."""
    if name_or_path in names():
        return declare.load(KernelSource, declare.find("kernel", directory(), name_or_path))
    path = Path(name_or_path).expanduser()
    if path.exists():
        return KernelSource(path.name or "tree", path=path.absolute())
    before, _, revision = name_or_path.rpartition("@")
    path = Path(before).expanduser()
    if before and path.is_dir():
        return KernelSource(f"{path.name}@{revision}", path=path.absolute(), revision=revision)
    if "/" in name_or_path:
        raise SourceError(
            f"no such kernel tree: {name_or_path}",
            hint="give a git tree, PATH@REVISION, a directory, a tarball, or one of: " + ", ".join(names()),
        )
    raise UnknownNameError("kernel", name_or_path, names())


def fetch(source: KernelSource, *, progress: Progress) -> Tree:
    """The tree of `source`, imported into our repository if it is not there yet."""
    require("git")
    repository = git.sources()
    if source.path is None:
        return _fetch_package(repository, source, progress)
    if source.path.is_dir():
        is_git = (source.path / ".git").exists()
        if source.revision and not is_git:
            raise SourceError(f"{source.path} is no git tree: {source.revision!r} means nothing there")
        # Something that is no kernel is refused before it is read as a whole.
        if not source.revision:
            _require_kernel(source.path, lambda file: (source.path or Path()).joinpath(file).is_file())
        tree_id = (_import_git if is_git else _import_directory)(repository, source, progress)
        commit = repository.commit(tree_id, f"{tree_id}\n")
    else:
        commit = _import_tarball(repository, source.path, progress)
    return _tree(repository, source, commit, "")


def _fetch_package(repository: git.Repository, source: KernelSource, progress: Progress) -> Tree:
    package = debian.find(source.package, source.suite, progress)
    # A tilde is not allowed in a ref.
    ref = f"refs/packages/{package.name}/{package.version.replace('~', '%7E').replace(':', '%3A')}"
    commit = repository.resolve(ref)
    if commit is None:
        with store.exclusive(f"import-{package.name}"):
            commit = repository.resolve(ref)
            if commit is None:
                with package.tarball(progress) as tarball:
                    progress(f"importing {package.name} {package.version}")
                    message = f"{package.name} {package.version}\n"
                    commit = git.import_entries(repository, _tar_entries(tarball), ref, message)
    return _tree(repository, source, commit, package.version)


def _tree(repository: git.Repository, source: KernelSource, commit: str, package_version: str) -> Tree:
    where = source.path or Path(source.package)
    _require_kernel(where, lambda file: repository.resolve(f"{commit}:{file}") is not None)
    makefile = repository.show(commit, "Makefile") or ""
    tree_id = repository.resolve(f"{commit}^{{tree}}")
    assert tree_id is not None
    return Tree(
        name=source.name,
        version=version_of(makefile, where),
        package_version=package_version,
        git_dir=repository.git_dir,
        commit=commit,
        tree_id=tree_id,
    )


def _require_kernel(where: Path, has: Callable[[str], bool]) -> None:
    for file in ("Makefile", "Kconfig", "init/main.c", "mm/zsmalloc.c"):
        if not has(file):
            raise SourceError(
                f"{where} is no kernel tree: it has no {file}",
                hint="give the top directory of a kernel's sources",
            )


def version_of(makefile: str, where: Path) -> str:
    """The version that the text of a kernel's top Makefile declares, without a local suffix."""
    parts = dict(
        re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(\S*) *$", makefile, re.MULTILINE)
    )
    if not (parts.get("VERSION", "").isdigit() and parts.get("PATCHLEVEL", "").isdigit()):
        raise SourceError(f"{where}: its Makefile declares no kernel version")
    sublevel = parts.get("SUBLEVEL") or "0"
    return f"{parts['VERSION']}.{parts['PATCHLEVEL']}.{sublevel}{parts.get('EXTRAVERSION', '')}"


def _tar_entries(tarball: Path) -> Iterator[git.Entry]:
    """The files of a source tarball, without the one directory they are all in."""
    count = 0
    try:
        with tarfile.open(tarball, "r|*") as archive:
            for member in archive:
                _, _, path = member.name.removeprefix("./").partition("/")
                if not path or member.isdir():
                    continue
                if ".." in path.split("/") or ".git" in path.split("/"):
                    raise SourceError(f"{tarball}: {member.name} leaves the tree")
                count += 1
                if member.issym():
                    yield git.Entry(path, "120000", member.linkname.encode("utf-8", "surrogateescape"))
                elif member.islnk():
                    _, _, target = member.linkname.removeprefix("./").partition("/")
                    yield git.Entry(path, "", b"", same_as=target)
                elif member.isfile():
                    data = archive.extractfile(member)
                    assert data is not None
                    mode = "100755" if member.mode & 0o100 else "100644"
                    yield git.Entry(path, mode, data.read())
    except (tarfile.TarError, EOFError, OSError) as error:
        raise SourceError(f"{tarball} cannot be read as a tarball: {error}") from error
    if count == 0:
        raise SourceError(f"{tarball} is no source tarball: it holds nothing below a directory")


def _import_tarball(repository: git.Repository, tarball: Path, progress: Progress) -> str:
    status = tarball.stat()
    # What the file is, as make would tell: an edited one is imported again.
    identity = f"{status.st_dev:x}-{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
    ref = f"refs/tarballs/{identity}"
    with store.exclusive(f"import-{identity}"):
        commit = repository.resolve(ref)
        if commit is None:
            progress(f"importing {tarball.name}")
            commit = git.import_entries(repository, _tar_entries(tarball), ref, f"{tarball.name}\n")
    return commit


def _import_directory(repository: git.Repository, source: KernelSource, progress: Progress) -> str:
    """Import all files of a plain directory; its index is kept, so that the next time only changes are read.

    Its .gitignore files do not count: the one in Debian's tarballs ignores everything.
    """
    assert source.path is not None
    for product in (".config", "include/config", "include/generated"):
        if (source.path / product).exists():
            raise SourceError(
                f"a kernel was configured or built in {source.path}: it has {product}",
                hint="make mrproper there, or put the sources under git, of which only tracked files count",
            )
    progress(f"importing {source.path}")
    identity = hashlib.sha256(str(source.path.resolve()).encode()).hexdigest()[:16]
    indexes = places.cache_dir() / "indexes"
    indexes.mkdir(exist_ok=True)
    checkout = git.Repository(repository.git_dir, indexes / identity, source.path)
    with store.exclusive(f"import-{identity}"):
        # Above that threshold files go into one pack; 80,000 files of their own are slow.
        checkout.git("-c", "core.bigFileThreshold=1", "add", "--all", "--force", ".")
        return checkout.git("write-tree").stdout.strip()


def _import_git(repository: git.Repository, source: KernelSource, progress: Progress) -> str:
    """Import a revision, or the tracked files of the work tree as they are now.

    The user's repository is only read: what `git add` would write goes to a
    temporary object directory that borrows from it, and from there only what we
    do not have yet goes into ours.
    """
    assert source.path is not None
    progress(f"importing {source.path}")
    user = source.path
    objects = _user_git(user, {}, "rev-parse", "--path-format=absolute", "--git-path", "objects")
    with tempfile.TemporaryDirectory(prefix="pageless-import-") as name:
        temporary = Path(name, "objects")
        temporary.mkdir()
        environment = {
            "GIT_OBJECT_DIRECTORY": str(temporary),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects.stdout.strip(),
            "GIT_INDEX_FILE": str(Path(name, "index")),
        }
        if source.revision:
            wanted = f"{source.revision}^{{tree}}"
            done = _user_git(
                user, {}, "rev-parse", "--verify", "--quiet", "--end-of-options", wanted, ok=None
            )
            if done.status != 0:
                raise SourceError(f"{user} has no revision {source.revision!r}")
            tree_id = done.stdout.strip()
        else:
            index = _user_git(user, {}, "rev-parse", "--path-format=absolute", "--git-path", "index")
            # A copy of the index remembers which files need no reading.
            shutil.copyfile(index.stdout.strip(), environment["GIT_INDEX_FILE"])
            _user_git(user, environment, "add", "--update", ":/")
            tree_id = _user_git(user, environment, "write-tree").stdout.strip()
        _copy_missing(repository, user, environment, tree_id)
    return tree_id


def _copy_missing(repository: git.Repository, user: Path, environment: dict[str, str], tree_id: str) -> None:
    """Copy the objects of a tree that our repository lacks."""
    listed = _user_git(user, environment, "rev-list", "--objects", "--no-object-names", tree_id).stdout
    known = repository.git("cat-file", "--batch-check=%(objectname)", stdin=listed.encode()).stdout
    missing = [line.split()[0] for line in known.splitlines() if line.endswith(" missing")]
    if not missing:
        return
    with tempfile.TemporaryDirectory(prefix="pack-", dir=repository.git_dir / "objects") as name:
        stdin = "".join(f"{object_id}\n" for object_id in missing).encode()
        _user_git(user, environment, "pack-objects", "--quiet", Path(name, "pack"), stdin=stdin)
        (pack,) = Path(name).glob("*.pack")
        (repository.git_dir / "objects/pack").mkdir(exist_ok=True)
        # The index goes last: git looks for packs by their index.
        pack.rename(repository.git_dir / "objects/pack" / pack.name)
        index = pack.with_suffix(".idx")
        index.rename(repository.git_dir / "objects/pack" / index.name)


def commits(user: Path, between: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """A range GOOD..BAD of a git tree: the good commit, and each later one with its subject, in order.

    Of merged branches only the merge is listed.
    """
    good, _, bad = between.partition("..")
    if not (user / ".git").exists():
        raise SourceError(f"{user} is no git tree: {between!r} means nothing there")
    ids = []
    for name in (good or "HEAD", bad or "HEAD"):
        done = _user_git(
            user, {}, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", ok=None
        )
        if done.status != 0:
            raise SourceError(f"{user} has no commit {name!r}")
        ids.append(done.stdout.strip())
    listed = _user_git(
        user, {}, "log", "--reverse", "--first-parent", "--format=%H %s", f"{ids[0]}..{ids[1]}"
    ).stdout.splitlines()
    if not listed:
        raise SourceError(f"{user} has no commit in {between!r}", hint="the good end comes first: GOOD..BAD")
    found = []
    for line in listed:
        commit, _, subject = line.partition(" ")
        found.append((commit, f"{commit[:12]} {subject}"))
    return ids[0], tuple(found)


def _user_git(
    user: Path,
    environment: dict[str, str],
    *words: str | Path,
    stdin: bytes | None = None,
    ok: tuple[int, ...] | None = (0,),
) -> Completed:
    """git in the user's repository, with the user's own settings, without optional writes."""
    return run(
        git.command("--no-optional-locks", "-C", user, *words, environment=environment),
        deadline=Deadline.after(git.LIMIT_S),
        stdin=stdin,
        ok=ok,
    )
