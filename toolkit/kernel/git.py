# SPDX-License-Identifier: GPL-2.0-only
"""The one git repository that holds every kernel tree, and plain git commands on it or on a user's."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from toolkit import places, store
from toolkit.deadline import Deadline
from toolkit.errors import HostError
from toolkit.run import PIPE, Completed, run, start

# A git command that is not done after this hangs: the slowest (importing a tree, checking one out)
# take half a minute on two slow cores.
LIMIT_S = 1800.0

IDENTITY = ("pageless developers", "pageless@example.org")

# Nothing of the caller's repository may leak in, for instance when we run from one of its hooks.
_FOREIGN = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
    "GIT_NAMESPACE",
)

# The same input gives the same commit on every machine and on every day.
_DETERMINISTIC: Mapping[str, str] = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": IDENTITY[0],
    "GIT_AUTHOR_EMAIL": IDENTITY[1],
    "GIT_AUTHOR_DATE": "@0 +0000",
    "GIT_COMMITTER_NAME": IDENTITY[0],
    "GIT_COMMITTER_EMAIL": IDENTITY[1],
    "GIT_COMMITTER_DATE": "@0 +0000",
}


def command(*words: str | Path, environment: Mapping[str, str] = _DETERMINISTIC) -> tuple[str | Path, ...]:
    """The argv of a git command that the caller's GIT_* variables do not reach."""
    unset = [word for name in _FOREIGN for word in ("-u", name)]
    return ("env", *unset, *(f"{name}={value}" for name, value in environment.items()), "git", *words)


@dataclass(frozen=True)
class Repository:
    """A bare repository of ours; with `index` and `work_tree`, a checkout of it."""

    git_dir: Path
    index: Path | None = None
    work_tree: Path | None = None

    def git(
        self, *words: str | Path, stdin: bytes | None = None, ok: Sequence[int] | None = (0,)
    ) -> Completed:
        """Run a git command; ProgramError when it fails with a status outside `ok`."""
        where: list[str | Path] = [f"--git-dir={self.git_dir}"]
        if self.work_tree is not None:
            where.append(f"--work-tree={self.work_tree}")
        return run(
            command(*where, *words, environment=self._environment()),
            deadline=Deadline.after(LIMIT_S),
            cwd=self.work_tree,
            stdin=stdin,
            ok=ok,
        )

    def resolve(self, name: str) -> str | None:
        """The id of what `name` names here, or None."""
        done = self.git("rev-parse", "--quiet", "--verify", name, ok=None)
        return done.stdout.strip() if done.status == 0 else None

    def show(self, tree: str, path: str) -> str | None:
        """The text of a file in a tree, or None if there is no such file."""
        done = self.git("cat-file", "blob", f"{tree}:{path}", ok=None)
        return done.stdout if done.status == 0 else None

    def objects(self, tree: str, paths: Iterable[str]) -> str:
        """What a tree has at those paths, files and directories, by content: equal text, equal content."""
        return self.git("ls-tree", tree, *paths).stdout

    def commit(self, tree_id: str, message: str, *parents: str) -> str:
        """The commit of `tree_id`: its id depends on nothing but the arguments."""
        words = [word for parent in parents for word in ("-p", parent)]
        return self.git("commit-tree", tree_id, *words, stdin=message.encode()).stdout.strip()

    @contextlib.contextmanager
    def scratch_index(self) -> Iterator[Repository]:
        """This repository with an empty index of its own, which is removed at the end."""
        with tempfile.TemporaryDirectory(prefix="pageless-index-") as directory:
            yield Repository(self.git_dir, Path(directory, "index"), self.work_tree)

    def _environment(self) -> dict[str, str]:
        extra = {} if self.index is None else {"GIT_INDEX_FILE": str(self.index)}
        return {**_DETERMINISTIC, **extra}


def sources() -> Repository:
    """The repository below the cache directory, made on first use."""
    git_dir = places.cache_dir() / "sources.git"
    repository = Repository(git_dir)
    if not (git_dir / "HEAD").exists():
        with store.exclusive("sources"):
            if not (git_dir / "HEAD").exists():
                run(command("init", "--quiet", "--bare", git_dir), deadline=Deadline.after(LIMIT_S))
                # Trees are found by id, not by ref: nothing may be collected behind our back.
                for name, value in (
                    ("gc.auto", "0"),
                    ("maintenance.auto", "false"),
                    ("core.compression", "1"),
                    ("core.autocrlf", "false"),
                    ("advice.detachedHead", "false"),
                ):
                    repository.git("config", name, value)
    return repository


@dataclass(frozen=True)
class Entry:
    """A file to import: `mode` is git's ("100644", "100755", "120000" for a link, its target as data).

    With `same_as`, the data is that of an earlier entry (a hard link).
    """

    path: str
    mode: str
    data: bytes
    same_as: str = ""


def import_entries(repository: Repository, entries: Iterable[Entry], ref: str, message: str) -> str:
    """Import files as a commit without parents under `ref`; returns the commit's id."""
    with tempfile.TemporaryDirectory(prefix="pageless-import-") as directory:
        errors = Path(directory, "stderr")
        words = [
            f"--git-dir={repository.git_dir}",
            "-c", "core.compression=1",
            "fast-import", "--quiet", "--force", "--depth=0", "--done",
        ]  # fmt: skip
        with (
            errors.open("wb") as error_log,
            start(command(*words), stdin=PIPE, stderr=error_log) as process,
        ):
            assert process.stdin is not None
            # When it dies early, its status and its words tell more than our broken pipe.
            with contextlib.suppress(BrokenPipeError):
                _write_stream(process.stdin, entries, ref, message)
                process.stdin.close()
            if process.wait() != 0:
                detail = errors.read_text(encoding="utf-8", errors="replace")
                raise HostError("git fast-import failed", hint="is the disk full?", detail=detail[-4000:])
    commit = repository.resolve(ref)
    if commit is None:
        raise HostError(f"git fast-import left no {ref}", hint="is the disk full?")
    return commit


def _write_stream(sink: IO[bytes], entries: Iterable[Entry], ref: str, message: str) -> None:
    text = message.encode()
    who = f"{IDENTITY[0]} <{IDENTITY[1]}> 0 +0000"
    sink.write(f"commit {ref}\ncommitter {who}\ndata {len(text)}\n".encode() + text + b"\n")
    for entry in entries:
        if entry.same_as:
            sink.write(f"C {_quoted(entry.same_as)} {_quoted(entry.path)}\n".encode())
            continue
        header = f"M {entry.mode} inline {_quoted(entry.path)}\ndata {len(entry.data)}\n"
        sink.write(header.encode("utf-8", "surrogateescape") + entry.data + b"\n")
    sink.write(b"done\n")


def _quoted(path: str) -> str:
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
