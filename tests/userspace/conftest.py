# SPDX-License-Identifier: GPL-2.0-only
"""The tree's own zsmalloc.c, compiled once a session and page size."""

from __future__ import annotations

import concurrent.futures
import functools

from toolkit.deadline import Deadline
from toolkit.kernel import series, source
from toolkit.model.geometry import Geometry, geometry
from toolkit.store import default_store
from toolkit.userspace.build import Program, Reader, compile_tree, tree_reader

# One of each generation that the model knows.
KERNELS = ("6.1", "6.12", "latest")

# Compiling takes seconds on an idle machine and minutes on a busy one.
COMPILE_S = 600.0


def ports() -> list[tuple[str, str]]:
    """Each kernel that the model knows, as it is and with every series that is ported to it."""
    # Where there is none yet, most of that is waiting for the network and for one thread of a program.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        trees = pool.map(lambda kernel: source.fetch(source.load(kernel), progress=lambda _: None), KERNELS)
    lines = [tree.line for tree in trees]
    return [
        (kernel, name)
        for kernel, line in zip(KERNELS, lines, strict=True)
        for name in series.names()
        if name == series.BASELINE or line in series.load(name).kernels
    ]


@functools.cache
def geometry_of(kernel: str, page_size: int) -> Geometry:
    """The size classes of a declared kernel, by the release that it turns out to be."""
    tree = source.fetch(source.load(kernel), progress=lambda _: None)
    return geometry(tree.version, page_size)


@functools.cache
def reader_of(kernel: str, name: str = series.BASELINE) -> Reader:
    """The files of a declared kernel with a series applied; it is fetched if it is not there."""
    tree = source.fetch(source.load(kernel), progress=lambda _: None)
    patched = series.apply(tree, series.load(name), progress=lambda _: None)
    return functools.cache(tree_reader(patched))


@functools.cache
def program_of(kernel: str, page_size: int, name: str = series.BASELINE) -> Program:
    """The tree's zsmalloc.c as it is, with the sanitizers."""
    return compile_tree(
        reader_of(kernel, name),
        page_size=page_size,
        cache=default_store(),
        deadline=Deadline.after(COMPILE_S),
    )


@functools.cache
def edited_program(old: str, new: str, page_size: int = 4096) -> Program:
    """The zsmalloc.c of 6.1 with one piece of text replaced: a planted fault."""
    read = reader_of("6.1")

    def edit(path: str) -> str | None:
        text = read(path)
        if path != "mm/zsmalloc.c":
            return text
        assert text is not None
        assert text.count(old) == 1, f"{text.count(old)} places to plant the fault in"
        return text.replace(old, new)

    return compile_tree(edit, page_size=page_size, cache=default_store(), deadline=Deadline.after(COMPILE_S))
