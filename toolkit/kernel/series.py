# SPDX-License-Identifier: GPL-2.0-only
"""Patch series: declared in patches/, or the user's own; checked as text, applied without a work tree.

Whatever form a series comes in, it is read into the same patches, so that the same series gives the
same tree, and the same kernel in the store.
"""

from __future__ import annotations

import dataclasses
import email
import email.message
import email.policy
import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchedFile, PatchSet

from toolkit import declare, places
from toolkit.deadline import Deadline
from toolkit.errors import ApplyError, SeriesError, UnknownNameError
from toolkit.kernel import git
from toolkit.kernel.source import Tree, version_of
from toolkit.run import require, run

Progress = Callable[[str], None]

BASELINE = "none"

# The line that begins each mail of an mbox, as `git format-patch` or a mailer writes it.
_MBOX_LINE = re.compile(r"^From \S+ .*\d{4}( [+-]\d{4})?$", re.MULTILINE)
_HEADER_LINE = re.compile(r"[A-Za-z][A-Za-z-]*: ?")
_DIFF_START = re.compile(r"^(diff --git |diff -|--- \S|Index: )", re.MULTILINE)
_NUMBER = re.compile(r"\[[^\]]*?(\d+)/\d+\]")
_BASE_COMMIT = re.compile(r"^base-commit: ([0-9a-f]{12,64})\s*$", re.MULTILINE)
_B4_LIMIT_S = 300.0
_TAG = re.compile(r"^\s*(\[[^\]]*\]\s*)+")


@dataclass(frozen=True)
class Patch:
    """One patch: `text` is its message and diff, `files` the paths that the diff touches."""

    name: str
    text: str
    subject: str
    message: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Port:
    """A series' version for one release: `base` is the exact version it was made for."""

    base: str
    notes: str = ""


@dataclass(frozen=True)
class Series:
    """A named series: ported to the releases of `kernels`, or, from a path, to any tree."""

    name: str
    title: str = ""
    variant: str = ""
    # Lines of configuration that it needs, as a fragment has them.
    config: tuple[str, ...] = ()
    kernels: Mapping[str, Port] = field(default_factory=lambda: MappingProxyType({}))
    # Where a declared series lives.
    directory: Path | None = None
    # The patches of a series that is not declared.
    loose: tuple[Patch, ...] = ()
    # Those that it is made of, in the order in which they are applied.
    stacked: tuple[Series, ...] = ()
    # The commit that its mails say it was made for, or nothing.
    base_commit: str = ""
    # How many of its patches are meant, from the first on; None for all.
    length: int | None = None

    def patches(self, line: str) -> tuple[Patch, ...]:
        """The patches for the release `line` ("6.1"); SeriesError if it is not ported to that."""
        found = self._all(line)
        if self.length is None:
            return found
        if self.length > len(found):
            raise SeriesError(f"{self.name}: it has only {len(found)} patches")
        return found[: self.length]

    def _all(self, line: str) -> tuple[Patch, ...]:
        if self.stacked:
            return tuple(patch for part in self.stacked for patch in part.patches(line))
        if self.directory is None:
            return self.loose
        if line not in self.kernels:
            ports = ", ".join(sorted(self.kernels)) or "nothing"
            raise SeriesError(
                f"the series {self.name} has no port to {line}",
                hint=f"it is ported to {ports}; a port to {line} goes to {self.directory / line}",
            )
        return _read_directory(self.directory / line)


@dataclass(frozen=True)
class _Declaration:
    """What series.toml holds."""

    title: str
    kernels: Mapping[str, Port]
    variant: str = ""
    config: tuple[str, ...] = ()
    # The series that it goes on top of.
    on: str = ""


def directory() -> Path:
    return places.declared("patches")


def names() -> tuple[str, ...]:
    """The declared series, and "none", the empty one."""
    return (BASELINE, *sorted(path.parent.name for path in directory().glob("*/series.toml")))


def prefix(name: str, length: int) -> str:
    """The name of a series' first patches, as load() takes it."""
    return f"{name}@{length}"


def load(name_or_path: str) -> Series:
    """A declared series, or one of the user's.

    That is a path (quilt directory, directory of patches, maildir, patch, mbox), commits of a git
    tree as PATH@OLD..NEW, or a mail on a list as lore:MESSAGE-ID.  SERIES@3 are its first 3 patches,
    and SERIES+SERIES are both, the second on top of the first.
    """
    before, _, after = name_or_path.rpartition("@")
    if before and not Path(name_or_path).expanduser().exists():
        if after.isdecimal():
            whole = load(before)
            # What a whole series promises of its variant holds of its last patch only.
            return dataclasses.replace(whole, name=name_or_path, variant="", length=int(after))
        if ".." in after:
            return _load_range(name_or_path, Path(before).expanduser(), after)
    if name_or_path.startswith("lore:"):
        return _load_lore(name_or_path)
    parts = name_or_path.split("+")
    if len(parts) > 1 and not Path(name_or_path).expanduser().exists():
        return _stack(name_or_path, tuple(map(load, parts)))
    return _load_whole(name_or_path)


def _stack(name: str, parts: tuple[Series, ...]) -> Series:
    """Several series as one, which needs what each needs and is ported to what all are ported to."""
    variants = sorted({part.variant for part in parts if part.variant})
    if len(variants) > 1:
        raise SeriesError(f"{name} is of the variants {' and '.join(variants)} at once")
    declared = [part for part in parts if part.kernels]
    return Series(
        name,
        title=", then ".join(part.title for part in parts),
        variant="".join(variants),
        config=tuple(dict.fromkeys(line for part in parts for line in part.config)),
        kernels=MappingProxyType(
            {
                line: port
                for line, port in (declared[0].kernels if declared else {}).items()
                if all(line in part.kernels for part in declared)
            }
        ),
        base_commit=next((part.base_commit for part in parts if part.base_commit), ""),
        stacked=parts,
    )


def _load_whole(name_or_path: str) -> Series:
    if name_or_path == BASELINE:
        return Series(BASELINE, title="the tree as it is")
    declared = directory() / name_or_path
    if name_or_path in names():
        found = declare.load(_Declaration, declared / "series.toml")
        own = Series(
            name=name_or_path,
            title=found.title,
            variant=found.variant,
            config=found.config,
            kernels=found.kernels,
            directory=declared,
        )
        if not found.on:
            return own
        return dataclasses.replace(_stack(name_or_path, (load(found.on), own)), title=own.title)
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        # A cover letter is no patch, but tells the base too.
        files = (*path.glob("*.patch"), *path.glob("*.diff"), *path.glob("*cover-letter*"))
        texts = [file.read_bytes() for file in sorted(files)]
        return Series(
            path.absolute().name,
            title=str(path),
            loose=_read_directory(path),
            base_commit=_base_commit(*_maildir(path), *texts),
        )
    if path.is_file():
        raw = path.read_bytes()
        patches = _read_mails(path.name, raw)
        if not patches:
            raise SeriesError(f"{path} holds no patch", hint="a unified diff, a mail or an mbox is expected")
        return Series(path.stem, title=patches[0].subject, loose=patches, base_commit=_base_commit(raw))
    if "/" in name_or_path or path.suffix in (".patch", ".diff", ".mbox", ".mbx"):
        raise SeriesError(f"no such series: {name_or_path}", hint="known: " + ", ".join(names()))
    raise UnknownNameError("series", name_or_path, names())


def _load_range(name: str, user: Path, commits: str) -> Series:
    """The commits of a range of the user's git tree, merges left out, as `git format-patch` writes them."""
    if not (user / ".git").exists():
        raise SeriesError(f"{user} is no git tree: {commits!r} means nothing there")
    with tempfile.TemporaryDirectory(prefix="pageless-range-") as output:
        done = run(
            git.command(
                "--no-optional-locks", "-C", user, "format-patch", "--quiet", "--output-directory", output,
                "--full-index", "--binary", "--no-renames", "--end-of-options", commits, "--",
            ),
            deadline=Deadline.after(git.LIMIT_S),
            ok=None,
        )  # fmt: skip
        if done.status != 0:
            raise SeriesError(f"{user} has no range {commits!r}", detail=done.stderr.strip())
        files = sorted(Path(output).iterdir())
        patches = tuple(patch for file in files for patch in _read_file(file, required=True))
    if not patches:
        raise SeriesError(f"{user} has no commit in {commits!r}", hint="the older end comes first: OLD..NEW")
    return Series(name, title=f"{len(patches)} commits of {user}", loose=patches)


def _load_lore(name: str) -> Series:
    """A series that was posted, as b4 finds it (its newest revision, trailers of the replies added)."""
    b4 = require("b4")
    message_id = name.removeprefix("lore:").strip("<>")
    with tempfile.TemporaryDirectory(prefix="pageless-b4-") as home:
        done = run(
            [b4, "--no-interactive", "am", "--no-cover", "--outdir", home, "--", message_id],
            deadline=Deadline.after(_B4_LIMIT_S),
            # In a git tree b4 would look for the base of the series.
            cwd=Path(home),
            ok=None,
        )
        raw = b"".join(file.read_bytes() for file in sorted(Path(home).glob("*.mbx")))
    if done.status != 0 or not raw:
        raise SeriesError(
            f"b4 finds no series for {message_id}",
            hint="is lore.kernel.org reachable from here? an mbox saved elsewhere does as well",
            detail=done.stderr.strip()[-2000:],
        )
    patches = _read_mails(message_id, raw)
    if not patches:
        raise SeriesError(f"the mail {message_id} holds no patch")
    return Series(name, title=patches[0].subject, loose=patches, base_commit=_base_commit(raw))


def _base_commit(*texts: bytes) -> str:
    """The commit that the trailer of a cover letter or patch names, or nothing."""
    found = (_BASE_COMMIT.search(text.decode("utf-8", "surrogateescape")) for text in texts)
    return next((match[1] for match in found if match is not None), "")


def apply(tree: Tree, series: Series, *, progress: Progress) -> Tree:
    """The tree with the series applied, a commit for each patch; ApplyError names the first that fails.

    The commits' ids depend only on the tree and the patches.  Where a patch does not
    apply as it stands, a 3-way merge is tried if the tree knows the blobs it was made for.
    """
    patches = series.patches(tree.line)
    if not patches:
        return tree
    repository = tree.repository
    digest = hashlib.sha256(tree.commit.encode())
    for patch in patches:
        digest.update(hashlib.sha256(_bytes(patch.text)).digest())
    ref = f"refs/applied/{digest.hexdigest()}"
    commit = repository.resolve(ref)
    if commit is None:
        commit = tree.commit
        with repository.scratch_index() as scratch:
            scratch.git("read-tree", tree.tree_id)
            for patch in patches:
                progress(f"applying {patch.name}")
                _apply_one(scratch, patch, series, progress)
                tree_id = scratch.git("write-tree").stdout.strip()
                commit = scratch.commit(tree_id, f"{patch.message}\n", commit)
        repository.git("update-ref", ref, commit)
    tree_id = repository.resolve(f"{commit}^{{tree}}") or ""
    version = version_of(repository.show(commit, "Makefile") or "", Path(series.name))
    return dataclasses.replace(tree, version=version, commit=commit, tree_id=tree_id)


def drift(tree: Tree, series: Series) -> str:
    """What to remark of a tree that is not the one which the series was made for, or nothing."""
    port = series.kernels.get(tree.line)
    if port is None or port.base == tree.version:
        return ""
    return f"{series.name} was made for {port.base}"


def parse(name: str, raw: bytes) -> Patch | None:
    """The patch in a mail, or in a plain diff with or without words before it; None without a diff."""
    subject, text = _decode(raw)
    start = _DIFF_START.search(text)
    if start is None:
        return None
    before = text[: start.start()]
    # As for `git am`: what stands below a line of three dashes is no part of the message.
    message = re.split(r"^---\s*$", before, maxsplit=1, flags=re.MULTILINE)[0].strip()
    if not subject:
        subject, _, message = message.partition("\n")
    subject = subject.strip() or name
    files = _check(name, text)
    return Patch(name, text, subject, f"{subject}\n\n{message.strip()}".strip(), files)


def _decode(raw: bytes) -> tuple[str, str]:
    """The subject (without its [tags]) and the text below the headers, if there are any."""
    text = raw.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    head = _MBOX_LINE.match(text)
    if head is not None:
        text = text[head.end() :].lstrip("\n")
    if not _HEADER_LINE.match(text):
        return "", text
    mail = email.message_from_bytes(_bytes(text), policy=email.policy.default)
    body = _body(mail)
    subject = _TAG.sub("", " ".join(str(mail["subject"] or "").split()))
    return subject, body.decode("utf-8", "surrogateescape").replace("\r\n", "\n")


def _body(mail: email.message.Message) -> bytes:
    """The first plain text of a mail, with its transfer encoding undone."""
    for part in mail.walk():
        if part.get_content_maintype() == "text":
            payload = part.get_payload(decode=True)
            if isinstance(payload, bytes):
                return payload
    return b""


def _check(name: str, text: str) -> tuple[str, ...]:
    """The files that a diff touches; SeriesError for a malformed one or one that leaves the tree."""
    at = 0

    def counted() -> Iterator[str]:
        nonlocal at
        for at, line in enumerate(text.splitlines(keepends=True), 1):  # noqa: B007  # read by the handler
            yield line

    try:
        parsed = PatchSet(counted())
    except UnidiffParseError as error:
        words = str(error).strip() or "the diff ends early"
        raise SeriesError(f"{name}:{at}: malformed patch: {words}", hint="was it pasted or edited?") from None
    for number, line in _header_lines(text):
        mode = re.match(r"(?:new file mode|new mode) (120000|160000)", line)
        if mode is not None:
            what = "a symbolic link" if mode[1] == "120000" else "a submodule"
            raise SeriesError(f"{name}:{number}: the patch creates {what}, which is refused")
        for path in _paths(line):
            parts = path.strip('"').split("/")
            if path.startswith("/") or ".." in parts or ".git" in (part.lower() for part in parts):
                raise SeriesError(
                    f"{name}:{number}: the path {path!r} leaves the tree",
                    hint="paths are relative to the top of the kernel, with a/ and b/ before them",
                )
    files = dict.fromkeys(path for file in parsed for path in _names(file))
    if not files:
        raise SeriesError(f"{name}: malformed patch: no file is touched")
    for file in parsed:
        if not (
            file or file.is_rename or file.is_binary_file or file.added or file.removed or _only_mode(file)
        ):
            raise SeriesError(f"{name}:{file.diff_line_no}: malformed patch: {file.path} has no hunk")
    return tuple(files)


def _names(file: PatchedFile) -> Iterator[str]:
    for path in (file.source_file, file.target_file):
        if path and path != "/dev/null":
            yield re.sub(r"^[ab]/", "", path)


def _only_mode(file: PatchedFile) -> bool:
    """Whether a file without hunks is one that changes its mode, or is empty and comes or goes."""
    return file.is_added_file or file.is_removed_file or file.source_mode != file.target_mode


def _header_lines(text: str) -> Iterator[tuple[int, str]]:
    """The numbered lines of a diff that are not inside a hunk."""
    old = new = 0
    for number, line in enumerate(text.splitlines(), 1):
        hunk = re.match(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@", line)
        if old > 0 or new > 0:
            old -= line[:1] in ("-", " ", "")
            new -= line[:1] in ("+", " ", "")
        elif hunk is not None:
            old, new = int(hunk[1] or 1), int(hunk[2] or 1)
        else:
            yield number, line


def _paths(line: str) -> Iterator[str]:
    """The paths that a header line of a diff names, without the prefixes a/ and b/."""
    match = re.match(r"(?:---|\+\+\+|rename from|rename to|copy from|copy to) (\"?[^\t\n]+)", line)
    words = match.groups() if match else line.split(" ")[2:4] if line.startswith("diff --git ") else ()
    for word in words:
        path = re.sub(r'^("?)[ab]/', r"\1", word.strip())
        if path != "/dev/null":
            yield path


def _read_directory(path: Path) -> tuple[Patch, ...]:
    """The patches of a directory in the order of its quilt `series` file, or by name without one.

    Those of a maildir come in the order of the numbers in their subjects.
    """
    mails = _maildir(path)
    if mails:
        patches = _in_order(mails, str(path))
        if not patches:
            raise SeriesError(f"the maildir {path} holds no patch")
        return patches
    listed = path / "series"
    present = {file.name for file in (*path.glob("*.patch"), *path.glob("*.diff"))}
    if listed.is_file():
        order = list(_read_quilt(listed))
        stray = sorted(present.difference(order))
        if stray:
            raise SeriesError(f"{listed} does not list {', '.join(stray)}", hint="list it, or remove it")
    else:
        order = sorted(present)
    if not order:
        raise SeriesError(f"{path} holds no patches", hint="it needs a quilt series file, or *.patch files")
    return tuple(patch for name in order for patch in _read_file(path / name, required=True))


def _read_quilt(listed: Path) -> Iterator[str]:
    for number, line in enumerate(listed.read_text(encoding="utf-8").splitlines(), 1):
        words = re.sub(r"(^|\s)#.*", "", line).split()
        if not words:
            continue
        if any(word != "-p1" for word in words[1:]):
            raise SeriesError(f"{listed}:{number}: only -p1 is understood, not {' '.join(words[1:])}")
        if Path(words[0]).is_absolute() or ".." in Path(words[0]).parts:
            raise SeriesError(f"{listed}:{number}: {words[0]} is outside the directory")
        if not (listed.parent / words[0]).is_file():
            raise SeriesError(f"{listed}:{number}: there is no patch {words[0]}")
        yield words[0]


def _maildir(path: Path) -> tuple[bytes, ...]:
    """The mails of a maildir, nothing if it is none."""
    if not ((path / "cur").is_dir() and (path / "new").is_dir()):
        return ()
    files = sorted((*(path / "cur").iterdir(), *(path / "new").iterdir()), key=lambda file: file.name)
    return tuple(file.read_bytes() for file in files if file.is_file())


def _read_file(path: Path, *, required: bool = False) -> tuple[Patch, ...]:
    return _read_mails(path.name, path.read_bytes(), path if required else None)


def _read_mails(name: str, raw: bytes, required: Path | None = None) -> tuple[Patch, ...]:
    """The patches of a text: one, or those of an mbox in the order of their numbers."""
    text = raw.decode("utf-8", "surrogateescape")
    starts = [match.start() for match in _MBOX_LINE.finditer(text.replace("\r\n", "\n"))]
    text = text.replace("\r\n", "\n")
    starts = [start for start in starts if start == 0 or text[start - 2 : start] == "\n\n"]
    if len(starts) < 2:
        patch = parse(name, raw)
        if patch is None and required is not None:
            raise SeriesError(f"{required} holds no diff", hint="a unified diff is expected")
        return () if patch is None else (patch,)
    pieces = [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
    return _in_order([_bytes(piece) for piece in pieces], name)


def _in_order(mails: Sequence[bytes], name: str) -> tuple[Patch, ...]:
    """The patches in several mails, by the numbers in their subjects."""
    patches: list[tuple[int, Patch]] = []
    for index, mail in enumerate(mails):
        patch = parse(f"{name}#{index + 1}", mail)
        # Cover letters and replies hold no diff.
        if patch is not None:
            number = _NUMBER.search(mail.decode("utf-8", "surrogateescape"))
            slug = re.sub(r"[^A-Za-z0-9]+", "-", patch.subject).strip("-")[:52]
            place = int(number[1]) if number else index
            patches.append((place, dataclasses.replace(patch, name=f"{place:04d}-{slug}.patch")))
    patches.sort(key=lambda item: item[0])
    return tuple(patch for _, patch in patches)


def _apply_one(scratch: git.Repository, patch: Patch, series: Series, progress: Progress) -> None:
    """Apply a patch to the scratch index."""
    diff = _bytes(patch.text)
    strict = scratch.git("apply", "--cached", "-p1", stdin=diff, ok=None)
    if strict.status == 0:
        return
    before = scratch.git("write-tree").stdout.strip()
    merged = scratch.git("apply", "--cached", "--3way", "-p1", stdin=diff, ok=None)
    if merged.status == 0:
        progress(f"applied {patch.name} with a 3-way merge")
        return
    scratch.git("read-tree", before)
    file, hunk, detail = _rejected(scratch, patch)
    reverse = scratch.git("apply", "--cached", "--check", "--reverse", "-p1", stdin=diff, ok=None)
    hint = "this tree has it already" if reverse.status == 0 else "rebase the patch onto this tree"
    if series.base_commit:
        hint += f"; it was made for {series.base_commit[:12]}: --kernel TREE@base, if your git tree has that"
    raise ApplyError(patch.name, file, hunk, hint=hint, detail=detail or strict.stderr.strip())


def _rejected(scratch: git.Repository, patch: Patch) -> tuple[str, str, str]:
    """The first file and hunk that do not apply, and the text of all hunks that do not."""
    with tempfile.TemporaryDirectory(prefix="pageless-reject-") as name:
        top = Path(name).resolve()
        checkout = git.Repository(scratch.git_dir, scratch.index, top)
        # Files that the patch creates are not there to be checked out.
        checkout.git("checkout-index", "--quiet", "--", *patch.files, ok=None)
        done = run(
            git.command(
                "apply", "--reject", "-p1",
                environment={"GIT_CEILING_DIRECTORIES": str(top.parent), "GIT_CONFIG_NOSYSTEM": "1"},
            ),
            deadline=Deadline.after(git.LIMIT_S),
            cwd=top,
            stdin=_bytes(patch.text),
            ok=None,
        )  # fmt: skip
        rejects = [(file, top / f"{file}.rej") for file in patch.files if (top / f"{file}.rej").exists()]
        texts = [path.read_text(encoding="utf-8", errors="replace") for _, path in rejects]
    absent = re.findall(r"^error: (.+): No such file or directory$", done.stderr, re.MULTILINE)
    if texts:
        hunk = re.search(r"^@@ .*", texts[0], re.MULTILINE)
        return rejects[0][0], hunk[0] if hunk else "", "".join(texts)
    if absent:
        return absent[0], "", f"the tree has no {', '.join(absent)}"
    return patch.files[0], "", done.stderr.strip()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
