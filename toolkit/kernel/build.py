# SPDX-License-Identifier: GPL-2.0-only
"""Configures and builds kernels: each once, in a work tree that keeps what did not change."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from toolkit import places, saved, store
from toolkit.deadline import Deadline
from toolkit.errors import (
    BuildError,
    ConfigError,
    MissingToolError,
    ProgramError,
    StoreError,
    UnknownNameError,
)
from toolkit.kernel import git, kconfig
from toolkit.kernel.arch import Arch
from toolkit.kernel.source import Tree
from toolkit.kernel.symbols import Compiled
from toolkit.run import package_of, run

Progress = Callable[[str], None]

# A kernel with KASAN from cold on one slow core.
_MAKE_LIMIT_S = 4 * 3600.0
_PROGRESS_INTERVAL_S = 0.2

# What the user may add to every command line, and so part of a kernel's identity.
_FLAGS = ("KCFLAGS", "KCPPFLAGS", "KAFLAGS")

# Whoever is built by make hands these on to us; they would reach the kernel's make.
_FOREIGN = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "KBUILD_OUTPUT", "O", "ARCH", "SRCARCH", "LOCALVERSION")

# All that a kernel records of when, where and by whom it was built.
_REPRODUCIBLE: Mapping[str, str] = {
    "KBUILD_BUILD_TIMESTAMP": "@0",
    "KBUILD_BUILD_USER": "pageless",
    "KBUILD_BUILD_HOST": "pageless",
    "KBUILD_BUILD_VERSION": "1",
}

# The files that `make allnoconfig` gets to see.
_KCONFIG_READS = re.compile(r"(?:.*/)?Kconfig[^/]*$|scripts/|Makefile$|arch/[^/]+/Makefile[^/]*$|.*\.sh$")

_COMPILER_ERROR = re.compile(
    r"^(\S+?:\d+:(\d+:)? (fatal )?error: "  # the compiler
    r"|\S+?:\d+: Error: "  # the assembler
    r"|.*: (undefined reference to|multiple definition of) "  # the linker
    r"|ERROR: modpost: |error: |.*\bld(\.lld)?: error: )",
    re.IGNORECASE,
)
# Sources are called ".." from the build directory inside them.
_DIAGNOSTIC = re.compile(
    r"(?:\.\./|\./)*(?P<file>[\w./+-]+):\d+:(?:\d+:)? (?:fatal )?(?P<kind>warning|error): (?P<text>.*)$"
)
_MADE = re.compile(r"^  ([A-Z][A-Z0-9_]*)(?: \[M\])? +(\S+)")


class Requirement(NamedTuple):
    """Something a build needs on the host: a program, or the path of a header, and its Debian package."""

    tool: str
    package: str

    @property
    def present(self) -> bool:
        if self.tool.startswith("/"):
            return Path(self.tool).exists()
        return shutil.which(self.tool) is not None


@dataclass(frozen=True)
class Toolchain:
    """The programs that build for one architecture, as the environment wishes."""

    # gcc or clang, with prefix or path, and the linker.
    compiler: str
    linker: str
    # Arguments of make that select them.
    arguments: tuple[str, ...]
    # The first line of the compiler's --version.
    identity: str
    # KCFLAGS and their like that are set, as NAME=value.
    flags: tuple[str, ...]


@dataclass(frozen=True)
class BuildInputs:
    """All that decides what a kernel is; equal inputs have an equal `key`."""

    tree_id: str
    config_sha256: str
    arch: str
    toolchain: str
    flags: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The sha256 of the inputs, in hexadecimal."""
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class BuiltKernel:
    """A kernel in the store."""

    directory: Path
    # What QEMU boots.
    image: Path
    # `uname -r`.
    release: str
    key: str

    @property
    def vmlinux(self) -> Path:
        """The kernel as ELF with symbols; on some architectures the same file as `image`."""
        return self.directory / "vmlinux"

    @property
    def config(self) -> Path:
        return self.directory / "config"

    @property
    def configuration(self) -> Mapping[str, str]:
        """The values of the final .config."""
        return kconfig.read_config(self.config.read_text(encoding="utf-8"))

    @property
    def system_map(self) -> Path:
        return self.directory / "System.map"

    @property
    def log(self) -> Path:
        """make's output: of the incremental build that made this kernel."""
        return self.directory / "build.log"


def toolchain_requirements(arch: Arch) -> tuple[Requirement, ...]:
    """All that has to be installed to build for `arch` here; ccache is used when there."""
    tools = ["git", "make", "flex", "bison", "bc", "perl", "tar", "xz", "gcc", "ccache"]
    tools += _compilers(arch)
    headers = [Requirement("/usr/include/gelf.h", "libelf-dev")]
    headers += [Requirement("/usr/include/openssl/opensslv.h", "libssl-dev")]
    return (*(Requirement(tool, package_of(tool)) for tool in dict.fromkeys(tools)), *headers)


def toolchain(arch: Arch) -> Toolchain:
    """The toolchain for `arch`; LLVM, CC, CROSS_COMPILE, KCFLAGS are honoured as the kernel's make does.

    A CROSS_COMPILE for another architecture is left alone.  MissingToolError names
    what is not installed.
    """
    missing = [need for need in toolchain_requirements(arch) if not need.present and need.tool != "ccache"]
    if missing:
        packages = " ".join(dict.fromkeys(need.package for need in missing))
        raise MissingToolError(
            f"to build for {arch.name}, not installed: {', '.join(need.tool for need in missing)}",
            hint=f"apt-get install {packages}, or: pageless doctor --fix",
        )
    compiler, linker = _compilers(arch)
    llvm, cross = os.environ.get("LLVM", ""), _cross_compile(arch)
    ccache = "ccache " if shutil.which("ccache") else ""
    arguments = [f"ARCH={arch.kernel_arch}", f"CC={ccache}{compiler}"]
    if cross:
        arguments.append(f"CROSS_COMPILE={cross}")
    arguments.append(f"LLVM={llvm}" if llvm else f"HOSTCC={ccache}gcc")
    version = run([compiler, "--version"], deadline=Deadline.after(60)).stdout
    return Toolchain(
        compiler=compiler,
        linker=linker,
        arguments=tuple(arguments),
        identity=version.splitlines()[0].strip(),
        flags=tuple(f"{name}={os.environ[name]}" for name in _FLAGS if os.environ.get(name)),
    )


def nm(arch: Arch) -> str:
    """The program that lists the symbols of what was built for `arch`."""
    return "llvm-nm" if os.environ.get("LLVM") else f"{_cross_compile(arch)}nm"


def configure(
    tree: Tree, arch: Arch, wanted: kconfig.Kconfig, *, progress: Progress = lambda _: None
) -> Path:
    """The final .config of `wanted` for a tree, decided by the tree's own Kconfig.

    What is not asked for is n, as in tinyconfig, or as in what `wanted` is put on top of.
    Everything that is asked for is looked up in the result: ConfigError tells for each symbol
    that was dropped why.
    The file's stem is the configuration's name.  It is kept as long as nothing that
    Kconfig reads changes.
    """
    tools = toolchain(arch)
    read_by_kconfig = _read_by_kconfig(tree, arch, wanted.defconfig)
    digest = hashlib.sha256("".join(read_by_kconfig.values()).encode())
    beneath = [text for text in (wanted.defconfig, wanted.whole) if text]
    for text in (arch.kernel_arch, wanted.name, wanted.text, *beneath, *tools.arguments, tools.identity):
        digest.update(b"\0" + text.encode())

    def make(directory: Path) -> None:
        progress("configuring")
        with _sparse_checkout(tree, read_by_kconfig) as work:
            final = work.build / ".config"
            if wanted.defconfig or wanted.whole:
                if wanted.defconfig:
                    work.make(tools, wanted.defconfig)
                begin = wanted.whole or final.read_text(encoding="utf-8")
                # Of two lines for one symbol, the last counts.
                final.write_text(f"{begin}\n{wanted.text}", encoding="utf-8")
                work.make(tools, "olddefconfig")
            else:
                asked = work.build / "wanted.config"
                asked.write_text(wanted.text, encoding="utf-8")
                work.make(tools, "allnoconfig", environment={"KCONFIG_ALLCONFIG": str(asked)})
            text = final.read_text(encoding="utf-8")
            missing = wanted.missing_from(kconfig.read_config(text))
            if missing:
                environment = _kconfig_environment(tree, arch, tools)
                reasons = kconfig.explain(work.source, environment, final, missing)
                raise ConfigError(
                    f"Linux {tree.version} for {arch.name} drops {len(missing)} of the settings asked for",
                    hint="ask for what they depend on too, or drop them",
                    detail="\n".join(reasons),
                )
            (directory / f"{wanted.name}.config").write_text(text, encoding="utf-8")

    return store.default_store().publish("configs", digest.hexdigest(), make) / f"{wanted.name}.config"


def inputs(tree: Tree, arch: Arch, config: Path) -> BuildInputs:
    """What `build` would build, without building it."""
    tools = toolchain(arch)
    digest = hashlib.sha256(config.read_bytes()).hexdigest()
    # What is built in the usual way keeps the key that it had before there was another.
    other = (f"image={image}",) if (image := _image(arch, config)) != arch.kernel_image else ()
    return BuildInputs(tree.tree_id, digest, arch.name, tools.identity, (*tools.flags, *other))


def _image(arch: Arch, config: Path) -> str:
    """The file below the build directory that QEMU is given."""
    kasan = "KASAN" in kconfig.read_config(config.read_text(encoding="utf-8"))
    return arch.kasan_image if kasan and arch.kasan_image else arch.kernel_image


def build(tree: Tree, arch: Arch, config: Path, *, progress: Progress, lane: str = "") -> BuiltKernel:
    """The kernel of a tree and a final .config, from the store or built.

    What one `lane` builds follows on what it built before, in a work tree of its own: so the steps
    of a series cost what they change, whatever else is built meanwhile.  BuildError holds the
    compiler's messages, and the path of make's whole output.
    """
    tools = toolchain(arch)
    what = inputs(tree, arch, config)

    def make(directory: Path) -> None:
        with _work_tree(tree, arch, config.stem, progress, lane) as work:
            work.use_config(config)
            image = _image(arch, config)
            modules = ("modules",) if _has_modules(config) else ()
            log = _compile(work, tools, (Path(image).name, *modules), progress)
            progress("storing the kernel")
            for source, name in (
                ("vmlinux", "vmlinux"),
                (image, Path(image).name),
                ("System.map", "System.map"),
                (".config", "config"),
                ("Module.symvers", "Module.symvers"),
                ("mm/zsmalloc.o", "zsmalloc.o"),
            ):
                if (work.build / source).exists() and not (directory / name).exists():
                    shutil.copyfile(work.build / source, directory / name)
            shutil.copyfile(log, directory / "build.log")
            facts = {
                "release": (work.build / "include/config/kernel.release").read_text(encoding="utf-8").strip(),
                "image": Path(image).name,
                "inputs": dataclasses.asdict(what),
            }
            (directory / "kernel.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")

    return _built(store.default_store().publish("kernels", what.key, make))


@dataclass(frozen=True)
class Diagnostic:
    """What the compiler said of a line of `file` (a path in the tree): "warning" or "error", and why."""

    file: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}: {self.kind}: {self.text}"


def diagnostics(log: str) -> tuple[Diagnostic, ...]:
    """The warnings and errors in make's output, without their line numbers, which every edit moves."""
    found = (_DIAGNOSTIC.match(line) for line in log.splitlines())
    return tuple(Diagnostic(m["file"], m["kind"], m["text"]) for m in found if m is not None)


def examine(
    tree: Tree, arch: Arch, config: Path, files: Sequence[str], *, progress: Progress, lane: str = ""
) -> tuple[Diagnostic, ...]:
    """What the compiler says with W=1 of C files of a tree, which need not be in the kernel.

    From the store, or compiled.  A file that does not compile has an error.
    """
    key = hashlib.sha256("\0".join((inputs(tree, arch, config).key, *sorted(files))).encode()).hexdigest()
    tools = toolchain(arch)
    objects = [str(Path(file).with_suffix(".o")) for file in sorted(files)]

    def make(directory: Path) -> None:
        with _work_tree(tree, arch, config.stem, progress, lane) as work:
            work.use_config(config)
            # What only a cold build would say must not depend on what was built before.
            for path in objects:
                (work.build / path).unlink(missing_ok=True)
            with contextlib.suppress(ProgramError):
                work.make(tools, "W=1", "-k", *objects)
            said = diagnostics(work.log.read_text(encoding="utf-8", errors="replace"))
            absent = [path for path in objects if not (work.build / path).exists()]
            if absent and not any(one.kind == "error" for one in said):
                raise BuildError(f"make does not compile {', '.join(absent)}", detail=_end_of(work.log))
            saved.write(directory / "diagnostics.json", _Examined(said))

    path = store.default_store().publish("diagnostics", key, make) / "diagnostics.json"
    return saved.read(_Examined, path).said


@dataclass(frozen=True)
class _Examined:
    said: tuple[Diagnostic, ...]
    schema: int = 1


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])


def preprocess(tree: Tree, arch: Arch, config: Path, file: str, *, progress: Progress) -> str:
    """A C file of a tree (its path, "mm/zsmalloc.c") as the compiler gets it in this configuration.

    From the store, or made.
    """
    tools = toolchain(arch)
    kept = hashlib.sha256(f"{inputs(tree, arch, config).key} {file}".encode()).hexdigest()

    def make(directory: Path) -> None:
        with _work_tree(tree, arch, config.stem, progress) as work:
            work.use_config(config)
            target = str(Path(file).with_suffix(".i"))
            _compile(work, tools, (target,), progress)
            shutil.copyfile(work.build / target, directory / "preprocessed.i")

    made = store.default_store().publish("preprocessed", kept, make) / "preprocessed.i"
    return made.read_text(encoding="utf-8", errors="replace")


def with_lines(tree: Tree, arch: Arch, config: Path, file: str, *, progress: Progress) -> Compiled:
    """A C file of a tree, and an object of it with the kernel's own code but line numbers too.

    The compiler's debug options change no code, so that a kernel built without them need
    not be built again to find a line of its source.
    """
    tools = toolchain(arch)
    what = inputs(tree, arch, config)
    kept = hashlib.sha256(f"{what.key} {file}".encode()).hexdigest()

    def make(directory: Path) -> None:
        with _work_tree(tree, arch, config.stem, progress) as work:
            work.use_config(config)
            target = Path(file).with_suffix(".i")
            _compile(work, tools, (str(target),), progress)
            # The command that preprocessed it has all the options that decide its code.
            saved = (work.build / target.parent / f".{target.name}.cmd").read_text(encoding="utf-8")
            words = shlex.split(saved.splitlines()[0].partition(" := ")[2])
            options = [word for word in words[: words.index("-o")] if not word.startswith("-Wp,-MMD")]
            options[options.index("-E")] = "-c"
            run(
                [*options, "-gdwarf-4", "-o", directory / "lines.o", words[-1]],
                deadline=Deadline.after(_MAKE_LIMIT_S),
                cwd=work.build,
                env=ccache_environment(work.source),
            )
            shutil.copyfile(work.source / file, directory / "source.c")

    directory = store.default_store().publish("lines", kept, make)
    return Compiled(directory / "source.c", directory / "lines.o")


def modules(
    tree: Tree, arch: Arch, config: Path, kernel: BuiltKernel, sources: Path, *, progress: Progress
) -> Path:
    """A directory of modules for a kernel of a tree, made from a directory with their Kbuild and C files.

    They are built in the tree's work directory, which has what a module needs of the kernel,
    against the symbols that this kernel has: the work directory may hold another by now.
    A kernel that differs from another in nothing that modules are made of has the same ones.
    """
    tools = toolchain(arch)
    files = sorted(path for path in sources.iterdir() if path.is_file())
    symbols = kernel.directory / "Module.symvers"
    # Headers, what generates more of them, and what makes it.
    made_of = ("Makefile", "scripts", "tools", "include", "kernel", f"arch/{arch.source_arch}")
    seen = dataclasses.replace(
        inputs(tree, arch, config), tree_id=tree.repository.objects(tree.tree_id, made_of)
    )
    digest = hashlib.sha256(f"{seen.key} {kernel.release}".encode())
    for path in (symbols, *files):
        digest.update(f"\0{path.name}\0".encode() + path.read_bytes())

    def make(directory: Path) -> None:
        with _work_tree(tree, arch, config.stem, progress) as work:
            work.use_config(config)
            _compile(work, tools, ("modules_prepare",), progress)
            place = work.source.parent / "modules"
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            for path in files:
                shutil.copyfile(path, place / path.name)
            targets = (f"M={place}", f"KBUILD_EXTRA_SYMBOLS={symbols}", "modules")
            with _aside(work.build / "Module.symvers"):
                _compile(work, tools, targets, progress)
            for built in place.glob("*.ko"):
                shutil.copyfile(built, directory / built.name)

    return store.default_store().publish("modules", digest.hexdigest(), make)


@contextlib.contextmanager
def _aside(path: Path) -> Iterator[None]:
    """A file, if it is there, that nobody sees as long as the context."""
    hidden = path.with_name(f".{path.name}.aside")
    with contextlib.suppress(FileNotFoundError):
        path.rename(hidden)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            hidden.rename(path)


def find(key: str) -> BuiltKernel | None:
    """The kernel that was built with `key`, if it is still in the store."""
    directory = store.default_store().find("kernels", key)
    return None if directory is None else _built(directory)


def stored() -> tuple[BuiltKernel, ...]:
    """Every kernel in the store."""
    found = (store.default_store().root / "kernels").glob("*/kernel.json")
    return tuple(_built(path.parent) for path in sorted(found) if not path.parent.name.startswith("."))


def _built(directory: Path) -> BuiltKernel:
    facts = json.loads((directory / "kernel.json").read_text(encoding="utf-8"))
    return BuiltKernel(directory, directory / facts["image"], facts["release"], directory.name)


def compiler_errors(log: str, limit: int = 40) -> str:
    """The lines of make's output that say what is wrong, each with the excerpt below it; else its end."""
    lines = log.splitlines()
    found: list[str] = []
    for number, line in enumerate(lines):
        if _COMPILER_ERROR.match(line):
            found.append(line)
            for below in lines[number + 1 : number + 4]:
                if not re.match(r"\s+\d* \|", below):
                    break
                found.append(below)
    return "\n".join(found[:limit] or lines[-20:])


@dataclass(frozen=True)
class _WorkTree:
    """A checkout with its build directory inside it, held exclusively.

    With the build directory in the source directory, kbuild calls the sources "..":
    command lines and __FILE__ are the same wherever the tree lies, so that ccache
    knows them again.
    """

    source: Path
    log: Path

    @property
    def build(self) -> Path:
        return self.source / "build"

    @property
    def unfinished(self) -> Path:
        """Present while make runs: what is newer may be half written."""
        return self.build / ".unfinished"

    def use_config(self, config: Path) -> None:
        """Lay `config` into the build directory; an equal one keeps its time, and so its objects."""
        current = self.build / ".config"
        if not current.exists() or current.read_bytes() != config.read_bytes():
            shutil.copyfile(config, current)

    def make(
        self,
        tools: Toolchain,
        *targets: str,
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        """Run the kernel's make; ProgramError when it fails."""
        unset = [word for name in _FOREIGN for word in ("-u", name)]
        words = ["env", *unset, "make", f"-j{len(os.sched_getaffinity(0))}", "O=build", "LOCALVERSION="]
        self._forget_half_written()
        self.unfinished.touch()
        try:
            run(
                [*words, *tools.arguments, *targets],
                deadline=Deadline.after(_MAKE_LIMIT_S),
                cwd=self.source,
                env={**_REPRODUCIBLE, **ccache_environment(self.source), **(environment or {})},
                log=self.log,
                on_line=on_line,
            )
        except ProgramError:
            self.unfinished.unlink()
            raise
        self.unfinished.unlink()

    def _forget_half_written(self) -> None:
        """After a make that was killed, remove what it wrote: it may have been cut short."""
        if not self.unfinished.exists():
            return
        since_ns = self.unfinished.stat().st_mtime_ns
        for root, _, files in os.walk(self.build):
            for name in files:
                path = Path(root, name)
                if path.lstat().st_mtime_ns >= since_ns and name != ".config":
                    path.unlink()


@contextlib.contextmanager
def _work_tree(tree: Tree, arch: Arch, name: str, progress: Progress, lane: str = "") -> Iterator[_WorkTree]:
    """The work tree for a release, architecture, configuration and lane, with `tree` checked out in it."""
    place = "-".join(filter(None, (tree.line, arch.name, name, lane)))
    root = places.cache_dir() / "work" / place
    with store.exclusive(f"work-{place}"):
        with store.as_store_error(root):
            (root / "linux").mkdir(parents=True, exist_ok=True)
        work = _WorkTree(root / "linux", root / "make.log")
        progress(f"checking out Linux {tree.version}")
        _check_out(git.Repository(tree.git_dir, root / "index", work.source), tree, root / "checking-out")
        work.build.mkdir(exist_ok=True)
        work.log.write_text("", encoding="utf-8")
        yield work


def _check_out(repository: git.Repository, tree: Tree, unfinished: Path) -> None:
    """Let the work tree be exactly `tree`; files that are right already keep their times."""
    assert repository.index is not None
    interrupted = unfinished.exists()
    unfinished.touch()
    Path(f"{repository.index}.lock").unlink(missing_ok=True)
    repository.git("read-tree", "--reset", "-u", tree.tree_id)
    # Files that an interrupted checkout or somebody's hand left different.
    repository.git("checkout-index", "--quiet", "--all", "--force", "--index")
    if interrupted:
        repository.git("clean", "-fdxq", "--exclude=/build")
    unfinished.unlink()


def _compile(work: _WorkTree, tools: Toolchain, targets: tuple[str, ...], progress: Progress) -> Path:
    """Run make with a short line of progress now and then; returns its log."""
    told_s = 0.0

    def follow(line: str) -> None:
        nonlocal told_s
        made = _MADE.match(line)
        if made is not None and time.monotonic() - told_s >= _PROGRESS_INTERVAL_S:
            told_s = time.monotonic()
            progress(f"{made[1]} {made[2]}")

    try:
        work.make(tools, *targets, on_line=follow)
    except ProgramError:
        logs = places.cache_dir() / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        kept = logs / f"build-{work.source.parent.name}.log"
        shutil.copyfile(work.log, kept)
        text = kept.read_text(encoding="utf-8", errors="replace")
        if "No space left on device" in text:
            raise StoreError(
                f"no space left while building in {work.source}",
                hint="free some space there, or let XDG_CACHE_HOME point to a larger disk",
            ) from None
        raise BuildError(
            "the kernel does not build", hint=f"make's output: {kept}", detail=compiler_errors(text)
        ) from None
    return work.log


def _read_by_kconfig(tree: Tree, arch: Arch, defconfig: str = "") -> Mapping[str, str]:
    """The paths of all files of a tree that its configuration can depend on, with their modes and ids.

    UnknownNameError for a defconfig that the tree does not have for `arch`.
    """
    listed = tree.repository.git("ls-tree", "-r", "-z", tree.tree_id).stdout
    entries = (entry.partition("\t") for entry in listed.split("\0") if entry)
    files = {path: f"{mode_and_id}\t{path}\n" for mode_and_id, _, path in entries}
    found = {path: line for path, line in files.items() if _KCONFIG_READS.match(path)}
    if defconfig:
        place = f"arch/{arch.source_arch}/configs/"
        known = {path.removeprefix(place): path for path in files if path.startswith(place)}
        names = [name for name in known if name.endswith("defconfig")]
        # Plain `defconfig` is one of them, by the choice of the architecture.
        if defconfig not in ("defconfig", *names):
            raise UnknownNameError(f"defconfig of Linux {tree.version} for {arch.name}", defconfig, names)
        found |= {path: files[path] for path in known.values()}
    return found


@contextlib.contextmanager
def _sparse_checkout(tree: Tree, paths: Iterable[str]) -> Iterator[_WorkTree]:
    """A few files of a tree, for as long as the context lasts."""
    place = places.cache_dir() / "work"
    with store.as_store_error(place):
        place.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="sparse-", dir=place) as name,
        tree.repository.scratch_index() as scratch,
    ):
        work = _WorkTree(Path(name, "linux"), Path(name, "make.log"))
        work.build.mkdir(parents=True)
        checkout = git.Repository(scratch.git_dir, scratch.index, work.source)
        checkout.git("read-tree", tree.tree_id)
        checkout.git("checkout-index", "-z", "--stdin", stdin="\0".join(paths).encode())
        yield work


def _kconfig_environment(tree: Tree, arch: Arch, tools: Toolchain) -> Mapping[str, str]:
    """What the kernel's make exports to Kconfig."""
    prefix = _cross_compile(arch)
    llvm = os.environ.get("LLVM", "")
    binutils = {
        name.upper(): f"llvm-{name}" if llvm else f"{prefix}{name}" for name in ("nm", "ar", "objcopy")
    }
    return {
        **binutils,
        "ARCH": arch.kernel_arch,
        "SRCARCH": arch.source_arch,
        "CC": tools.compiler,
        "HOSTCC": "clang" if llvm else "gcc",
        "LD": tools.linker,
        "CC_VERSION_TEXT": tools.identity,
        "KERNELVERSION": tree.version,
        "PAHOLE": "pahole",
        "RUSTC": "rustc",
        "BINDGEN": "bindgen",
    }


def _compilers(arch: Arch) -> tuple[str, str]:
    """The compiler and the linker for `arch`."""
    llvm, cross = os.environ.get("LLVM", ""), _cross_compile(arch)
    if llvm:
        # LLVM=1, a suffix like -14, or a directory that ends in a slash.
        before, after = (llvm, "") if llvm.endswith("/") else ("", llvm if llvm.startswith("-") else "")
        compiler, linker = f"{before}clang{after}", f"{before}ld.lld{after}"
    else:
        compiler, linker = f"{cross}gcc", f"{cross}ld"
    return os.environ.get("CC") or compiler, linker


def _cross_compile(arch: Arch) -> str:
    """The user's CROSS_COMPILE if it is for `arch`, else what this host needs."""
    given = os.environ.get("CROSS_COMPILE", "")
    processor = arch.triplet.split("-")[0]
    return given if Path(given).name.startswith(f"{processor}-") else arch.cross_compile


def ccache_environment(source: Path) -> Mapping[str, str]:
    """ccache below our cache unless the user has one; where the work tree lies must not make it miss."""
    own = {} if os.environ.get("CCACHE_DIR") else {"CCACHE_DIR": str(places.cache_dir() / "ccache")}
    # In depend mode a miss costs a fifth less: no preprocessor is run for it.
    return {**own, "CCACHE_NOHASHDIR": "1", "CCACHE_BASEDIR": str(source), "CCACHE_DEPEND": "1"}


def _has_modules(config: Path) -> bool:
    return "\nCONFIG_MODULES=y\n" in config.read_text(encoding="utf-8")
