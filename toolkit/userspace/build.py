# SPDX-License-Identifier: GPL-2.0-only
"""Compile a tree's own mm/zsmalloc.c, unmodified, into a program that Python can drive.

What can be taken from the tree under test is: its lists, page flags, page
references, declarations of migration and of struct page, and the functions of
mm/migrate.c and mm/compaction.c that isolate and put back a movable page.  The rest
is ours, in shim/.  Headers that neither has are empty.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit.deadline import Deadline
from toolkit.errors import BuildError, ProgramError, SourceError
from toolkit.kernel.source import Tree
from toolkit.run import require, run
from toolkit.store import Store

SHIM = Path(__file__).with_name("shim")

# Reads a file of the tree under test by its path in it; None if there is none.
Reader = Callable[[str], str | None]

# Taken from the tree as they are, where the tree has them.
HEADERS = (
    "include/linux/container_of.h",
    "include/linux/err.h",
    "include/linux/kconfig.h",
    "include/linux/list.h",
    "include/linux/migrate.h",
    "include/linux/migrate_mode.h",
    "include/linux/mmdebug.h",
    "include/linux/page-flags.h",
    "include/linux/page_ref.h",
    "include/linux/poison.h",
    "include/linux/zsmalloc.h",
    "mm/zpdesc.h",
)
# Declarations cut out of a header whose other contents would need half the kernel.
STRUCTS = ("page", "folio")
# Where a page is freed, and the function that looks at it then, newer names first.
FREES, FREEING = "mm/page_alloc.c", ("__free_pages_prepare", "free_pages_prepare")
# Functions cut out of the core, in the order of their use.
FUNCTIONS = (
    ("mm/compaction.c", ("PageMovable", "__SetPageMovable", "__ClearPageMovable")),
    (
        "mm/migrate.c",
        (
            "set_movable_ops",
            "page_movable_ops",
            "movable_has_own_lock",
            "movable_trylock",
            "movable_lock",
            "movable_unlock",
            "isolate_movable_ops_page",
            "putback_movable_ops_page",
            "migrate_movable_ops_page",
            "isolate_movable_page",
            "putback_movable_page",
            "putback_movable_desc",
            "putback_movable_folio",
            "putback_movable_pages",
            "move_movable_page",
            "migrate_movable_page",
            "migrate_described_page",
            "migrate_movable_desc",
        ),
    ),
)

# Where a fault can be planted that user space has, too.
COMPILED = frozenset({"mm/zsmalloc.c", *(path for path, _ in FUNCTIONS)})

_INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', re.MULTILINE)


@dataclass(frozen=True)
class Program:
    """A compiled tree.

    path: the program; source_sha256: of the mm/zsmalloc.c in it, which is the tree's;
    taken: what else was taken from the tree; page_size in bytes; chain_size as
    CONFIG_ZSMALLOC_CHAIN_SIZE (trees before 6.3 have no use for it).
    """

    path: Path
    source_sha256: str
    taken: tuple[str, ...]
    page_size: int
    chain_size: int
    sanitize: bool


def directory_reader(root: Path) -> Reader:
    """The files of a directory that holds a kernel tree."""

    def read(path: str) -> str | None:
        file = root / path
        return file.read_text(encoding="utf-8") if file.is_file() else None

    return read


def tree_reader(tree: Tree) -> Reader:
    """The files of a tree in our own repository."""

    def read(path: str) -> str | None:
        return tree.repository.show(tree.tree_id, path)

    return read


def compile_tree(
    read: Reader,
    *,
    page_size: int,
    chain_size: int = 8,
    sanitize: bool = True,
    cache: Store,
    deadline: Deadline,
) -> Program:
    """The program of the tree that `read` reads, compiled unless the cache has it.

    Raises SourceError if the tree has no mm/zsmalloc.c, BuildError with the
    compiler's messages if it needs something that the shims do not give.
    """
    files = materialize(read)
    source = files["mm/zsmalloc.c"]
    flags = _flags(files, page_size, chain_size, sanitize=sanitize)
    compiler = run([require("gcc"), "--version"], deadline=deadline).stdout
    key = hashlib.sha256()
    for name, text in sorted(files.items()):
        key.update(f"{name}\0{text}\0".encode())
    for file in sorted(SHIM.iterdir()):
        key.update(file.read_bytes())
    key.update("\0".join([compiler, *flags]).encode())

    def make(directory: Path) -> None:
        for name, text in files.items():
            target = directory / "tree" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        _compile(directory, flags, deadline)

    return Program(
        path=cache.publish("userspace", key.hexdigest(), make) / "zsmalloc",
        source_sha256=hashlib.sha256(source.encode()).hexdigest(),
        taken=tuple(sorted(name for name in files if files[name] and name != "mm/zsmalloc.c")),
        page_size=page_size,
        chain_size=chain_size,
        sanitize=sanitize,
    )


def materialize(read: Reader) -> dict[str, str]:
    """Every file of the build directory that does not come from shim/, by its path.

    Files of include/ are found without that prefix, as the kernel's #include says.
    """
    source = read("mm/zsmalloc.c")
    if source is None:
        raise SourceError("the tree has no mm/zsmalloc.c")
    files = {"mm/zsmalloc.c": source}
    for header in HEADERS:
        text = read(header)
        if text is not None:
            files[header.removeprefix("include/")] = text
    types = read("include/linux/mm_types.h") or ""
    files["linux/mm_types.h"] = "#pragma once\n" + "\n".join(
        definition for name in STRUCTS if (definition := cut_struct(types, name))
    )
    functions = [
        definition
        for path, names in FUNCTIONS
        for name in names
        if (definition := cut_function(read(path) or "", name))
    ]
    files["core.h"] = "\n".join(['#include "core_needs.h"', *functions, '#include "generation.h"', ""])
    # Only looked at.
    files[FREES] = next(filter(None, (cut_function(read(FREES) or "", name) for name in FREEING)), "")
    ours = {file.name for file in SHIM.iterdir()}
    for text in tuple(files.values()):
        for name in _INCLUDE.findall(text):
            if name not in files and name not in ours:
                files[name] = files.get(f"mm/{name}", "")
    return files


def cut_struct(text: str, name: str) -> str | None:
    """The definition of `struct name` at the left margin of a C file, or None."""
    found = re.search(rf"^struct {name} \{{\n.*?^\}}[^\n]*;\n", text, re.MULTILINE | re.DOTALL)
    return found and found[0]


def cut_function(text: str, name: str) -> str | None:
    """The definition of a function at the left margin of a C file, made static; or None."""
    found = re.search(
        rf"^(?:static )?(?:inline )?(\w[\w \*]*?\**\b{name}\([^;{{]*\)\n\{{\n.*?^\}}\n)",
        text,
        re.MULTILINE | re.DOTALL,
    )
    return found and found[1]


def _flags(files: dict[str, str], page_size: int, chain_size: int, *, sanitize: bool) -> list[str]:
    """What the tree is like, told to the shims, and how strict the compiler is."""
    source, interface, lists = files["mm/zsmalloc.c"], files["linux/zsmalloc.h"], files["linux/list.h"]
    moving = files["linux/migrate.h"]
    features = {
        "SHIM_MALLOC_TAKES_NODE": re.search(r"zs_malloc\([^)]*\bnid\)", interface) is not None,
        "SHIM_READS_OBJECTS": "zs_obj_read_begin" in interface,
        "SHIM_ALLOCATED_SHRINKER": "shrinker_alloc(" in source,
        "SHIM_ZPDESC": "mm/zpdesc.h" in files,
        "SHIM_LIST_REPORTS": "__list_add_valid_or_report" in lists,
        "SHIM_ISOLATE_RETURNS_BOOL": "bool isolate_movable_page(" in moving,
        "SHIM_OWNERS_LOCK": "movable_trylock(" in files["core.h"],
        "SHIM_ISOLATES_TO_LIST": re.search(r"isolate_movable_page\([^)]*list", moving) is not None,
        "SHIM_DESCRIBED_PAGES": "struct movable_desc" in source,
        "SHIM_MIGRATES_MOVABLE_PAGES": "migrate_movable_page(" in files["core.h"],
        "SHIM_ALLOCATES_FOLIOS": "_page(new_folio_t" in files["core.h"],
        "SHIM_FLAGS_HAVE_A_TYPE": "memdesc_flags_t flags;" in files["linux/mm_types.h"],
        "SHIM_COUNTS_UNLESS_ZERO": "page_ref_add_unless_zero(" in files["linux/page_ref.h"],
        "SHIM_READS_LISTS": "zs_obj_read_sg_begin" in interface,
        "SHIM_MOVABLE_BY_TYPE": "int set_movable_ops(" in moving,
        "SHIM_DUMPS_CONST_PAGES": "dump_page(const struct page" in files["linux/mmdebug.h"],
        "SHIM_STICKY_PAGE_TYPE": "page_has_type(page)" in files[FREES],
    }
    flags = [
        "-std=gnu11",
        # Sanitized code is compiled anew whenever somebody edits the tree, and runs no slower unoptimized:
        # most of its time is Python's.  The other is to be fast.
        "-O0" if sanitize else "-O2",
        "-g",
        "-fno-strict-aliasing",
        "-fwrapv",
        "-Werror=return-type",
        "-Werror=implicit-function-declaration",
        "-Werror=incompatible-pointer-types",
        "-Wno-unused",
        "-Wno-pointer-sign",
        "-Wno-maybe-uninitialized",
        f"-DPAGE_SHIFT={page_size.bit_length() - 1}",
        f"-DCONFIG_ZSMALLOC_CHAIN_SIZE={chain_size}",
        *(f"-D{name}" for name, present in features.items() if present),
    ]
    if sanitize:
        flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    return flags


def _compile(directory: Path, flags: list[str], deadline: Deadline) -> None:
    tree = directory / "tree"
    steps: Iterator[list[str | Path]] = iter(
        [
            # No system header is found on the kernel's side but the compiler's own.
            ["-c", "-ffreestanding", "-I", tree, "-I", SHIM, SHIM / "unit.c", "-o", directory / "unit.o"],
            ["-c", SHIM / "host.c", "-o", directory / "host.o"],
            ["-c", SHIM / "turns.c", "-o", directory / "turns.o"],
            [*(directory / f"{part}.o" for part in ("unit", "host", "turns")), "-o", directory / "zsmalloc"],
        ]
    )
    # Messages name files as the kernel does.
    names = [f"-ffile-prefix-map={tree}/=", f"-ffile-prefix-map={SHIM}/=shim/"]
    for step in steps:
        try:
            run([require("gcc"), *flags, *names, *step], deadline=deadline)
        except ProgramError as error:
            raise BuildError(
                "the tree's mm/zsmalloc.c does not compile in user space",
                hint="does it use something that toolkit/userspace/shim does not give?",
                detail=error.detail,
            ) from None
