# SPDX-License-Identifier: GPL-2.0-only
"""The model and the kernel's own code agree, and faults planted in the code are found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.console import Console

from tests.userspace.conftest import KERNELS, edited_program, geometry_of, ports, program_of
from toolkit import pipeline, progress
from toolkit.deadline import Deadline
from toolkit.errors import CrashError
from toolkit.kernel import faults, series, source
from toolkit.model.geometry import geometry
from toolkit.userspace.library import REFUSED, Library, Request, Row, open_library
from toolkit.userspace.sim import Difference, compare, simulate
from toolkit.verdict import Status

pytestmark = pytest.mark.kernel

V6_1 = geometry("6.1", 4096)


def test_a_difference_becomes_a_test_that_can_be_pasted() -> None:
    found = Difference("the class table", "a", "b", ((Request.CREATE, 0, 0, 0), (Request.MALLOC, 0, 9, 1)))
    text = found.as_pytest(V6_1, "lost_object")
    assert "def test_lost_object(library: Library) -> None:\n    # the class table\n" in text
    assert "        (Request.MALLOC, 0, 9, 1),\n" in text
    compile(text, "pasted", "exec")


# With the larger pages everything is asked, too, but it takes several times as long.
@pytest.mark.parametrize(("page_size", "seeds"), [(4096, 3), (16384, 1), (65536, 1)])
@pytest.mark.parametrize(("kernel", "name"), ports())
def test_the_tree_and_the_model_never_differ(kernel: str, name: str, page_size: int, seeds: int) -> None:
    for seed in range(seeds):
        run = simulate(
            program_of(kernel, page_size, name),
            geometry_of(kernel, page_size),
            operations=2500,
            seed=seed,
            deadline=Deadline.after(300),
        )
        assert run.difference is None, run.difference.as_pytest(geometry_of(kernel, page_size))
        assert run.never_done == ()


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_debugfs_table_has_the_models_classes(kernel: str) -> None:
    made = geometry_of(kernel, 4096)
    with open_library(program_of(kernel, 4096), deadline=Deadline.after(60)) as library:
        library.ask(Request.CREATE)
        rows = library.classes(0, made)
        assert [(row.index, row.size, row.pages_per_zspage) for row in rows] == [
            (c.index, c.size, c.pages) for c in made.classes
        ]
        assert library.ask(Request.HUGE_SIZE) == made.huge_class_size


def test_what_makes_no_sense_is_refused_and_harms_nothing() -> None:
    with open_library(program_of("6.1", 4096), deadline=Deadline.after(60)) as library:
        assert library.ask(Request.MALLOC, b=100) == REFUSED
        library.ask(Request.CREATE)
        assert library.ask(Request.FREE, c=7) == REFUSED
        assert library.ask(Request.MIGRATE) == REFUSED
        assert library.ask(Request.MALLOC, b=100) == 0
        assert library.ask(Request.DESTROY) == REFUSED
        assert library.ask(Request.FREE) == 0
        assert library.ask(Request.DESTROY) == 0


# Faults that upstream once had, and structural ones: (name, text of 6.1, its replacement, page size,
# a word of what must be said).
FAULTS = [
    ("a class index one bit short", "class:CLASS_BITS + 1;", "class:CLASS_BITS;", 65536, "BUG"),
    (
        "too few bits for a page frame number",
        "(MAX_POSSIBLE_PHYSMEM_BITS - PAGE_SHIFT)",
        "(30 - PAGE_SHIFT)",
        4096,
        "no such page frame",
    ),
    (
        "sleeping before a mapping",
        "\tlocal_lock(&zs_map_area.lock);",
        "\tlocal_lock(&zs_map_area.lock); might_sleep();",
        4096,
        "atomic context",
    ),
    (
        "the handle forgotten in a spanning write",
        "\tbuf = buf + ZS_HANDLE_SIZE;\n\tsize -= ZS_HANDLE_SIZE;\n\toff += ZS_HANDLE_SIZE;\n",
        "",
        4096,
        "",
    ),
    (
        "the first object's place lost in a migration",
        "\tset_first_obj_offset(newpage, get_first_obj_offset(oldpage));\n",
        "",
        4096,
        "",
    ),
    (
        "an object at the end of a page forgotten",
        "for (addr = s_addr + offset; addr < s_addr + PAGE_SIZE;",
        "for (addr = s_addr + offset; addr + class->size <= s_addr + PAGE_SIZE;",
        4096,
        "",
    ),
    (
        "pages leaked when one is not to be had",
        "\t\t\t\t__free_page(pages[i]);\n",
        "",
        4096,
        "PAGES_TAKEN",
    ),
    (
        "pages left locked when one cannot be locked",
        "\t\tunlock_page(cursor);\n\n\treturn 0;",
        "\t\t;\n\n\treturn 0;",
        4096,
        "",
    ),
    (
        "a lock kept by putback",
        "\tdec_zspage_isolation(zspage);\n\tspin_unlock(&pool->lock);\n}",
        "\tdec_zspage_isolation(zspage);\n}",
        4096,
        # The next thing that may sleep meets it.
        "in atomic context",
    ),
    (
        "a list filled from its end",
        "\t\tlist_add(&zspage->list, &class->fullness_list[fullness]);",
        "\t\tlist_add_tail(&zspage->list, &class->fullness_list[fullness]);",
        4096,
        "",
    ),
    (
        "a reference too few for a page moved to",
        "\tget_page(newpage);\n",
        "",
        4096,
        "",
    ),
    ("a flag left on a freed page", "\tClearPagePrivate(page);\n", "", 4096, "PG_private"),
    ("a name leaked", "\tkfree(pool->name);\n", "", 4096, "SLAB_OBJECTS"),
]


@pytest.mark.parametrize(("name", "old", "new", "page_size", "said"), FAULTS, ids=[f[0] for f in FAULTS])
def test_a_planted_fault_is_found(name: str, old: str, new: str, page_size: int, said: str) -> None:
    found = None
    for seed in range(4):
        run = simulate(
            edited_program(old, new, page_size),
            geometry("6.1", page_size),
            operations=2500,
            seed=seed,
            deadline=Deadline.after(120),
            shrink_s=0,
        )
        found = found or run.difference
    assert found is not None, name
    assert said in found.what


def test_an_equivalent_change_is_not_found() -> None:
    """Both steps are under the pool's lock: nobody can see their order."""
    program = edited_program(
        "\t\tzs_object_copy(class, free_obj, used_obj);\n\t\tobj_idx++;\n\t\trecord_obj(handle, free_obj);",
        "\t\trecord_obj(handle, free_obj);\n\t\tzs_object_copy(class, free_obj, used_obj);\n\t\tobj_idx++;",
    )
    run = simulate(program, V6_1, operations=2500, seed=1, deadline=Deadline.after(120))
    assert run.difference is None


def test_a_found_sequence_is_shrunk_to_what_is_needed() -> None:
    program = edited_program("\tClearPagePrivate(page);\n", "")
    run = simulate(program, V6_1, operations=400, seed=1, deadline=Deadline.after(200))
    assert run.difference is not None
    kinds = [Request(op).name for op, *_ in run.difference.requests]
    assert kinds == ["CREATE", "MALLOC", "FREE"]


def test_the_last_words_of_a_crash_name_the_line_in_the_kernels_file() -> None:
    program = edited_program("\tmod_zspage_inuse(zspage, -1);\n", "\tBUG();\n")
    with open_library(program, deadline=Deadline.after(60)) as library:
        library.submit([(Request.CREATE, 0, 0, 0), (Request.MALLOC, 0, 100, 0)])
        with pytest.raises(CrashError, match=r"BUG: obj_free at mm/zsmalloc\.c:\d+, in request \d+"):
            library.ask(Request.FREE)


@pytest.fixture
def library() -> Iterator[Library]:
    with open_library(program_of("6.1", 4096), deadline=Deadline.after(60)) as opened:
        yield opened


def test_an_isolated_page_of_a_freed_zspage_goes_with_its_last_reference(library: Library) -> None:
    requests: list[Row] = [
        (Request.CREATE, 0, 0, 0),
        (Request.MALLOC, 0, 4096, 0),
        (Request.ISOLATE, 0, 0, 0),
        (Request.FREE, 0, 0, 0),
        (Request.MIGRATE, 0, 0, 0),
        (Request.DESTROY, 0, 0, 0),
    ]
    assert compare(library, V6_1, requests) is None


@pytest.mark.parametrize("kernel", KERNELS)
def test_without_content_everything_lies_where_it_lies_with_it(kernel: str) -> None:
    rows = [(Request.CREATE, 0, 0, 0)]
    rows += [(Request.MALLOC, 0, 40 + 97 * n % 4000, n) for n in range(400)]
    rows += [(Request.FREE, 0, 0, n) for n in range(0, 400, 3)]
    rows += [(Request.COMPACT, 0, 0, 0)]
    seen = []
    for content in (1, 0):
        with open_library(program_of(kernel, 4096), deadline=Deadline.after(60)) as library:
            assert library.ask(Request.CONTENT, content) == 0
            library.submit(rows)
            assert library.ask(Request.CONTENT, 1) == REFUSED
            verified = library.ask(Request.VERIFY, c=1)
            assert verified == (0 if content else REFUSED)
            seen.append((library.layout(0), library.classes(0, geometry_of(kernel, 4096))))
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("name", "statuses"),
    [("none", {Status.PASS}), (str(faults.load("6.1", "free-uncounted").path), {Status.FAIL})],
)
def test_a_run_tries_each_trees_zsmalloc_in_every_page_size(name: str, statuses: set[Status]) -> None:
    tree = source.fetch(source.load("6.1"), progress=lambda _: None)
    patched = series.apply(tree, series.load(name), progress=lambda _: None)
    with progress.on(Console(stderr=True, quiet=True)) as shown:
        checks = tuple(pipeline.check_simulated("6.1", patched, seed=1, progress=shown))
    assert [check.name for check in checks] == ["sim/6.1 4K", "together/6.1", "sim/6.1 64K"]
    assert {check.status for check in checks} == statuses
    assert all(check.summary for check in checks)


# Of the catalogue, what user space must find for good: each in seconds, so that every change is tried.
SAMPLE = (
    "alloc-uncounted",
    "compact-stale-source",
    "isolate-uncounted",
    "migrate-crosses-page",
    "movable-first-only",
    "spanning-write",
    "trylock-unwound-not",
    "find-alloced-obj-off-by-one-1601",
    "kick-deferred-free-drop-statement-1984",
    "zs-pool-stats-drop-statement-2130",
)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_of_the_catalogue_is_found(name: str) -> None:
    tree = source.fetch(source.load("6.1"), progress=lambda _: None)
    patched = series.apply(tree, series.load(str(faults.load("6.1", name).path)), progress=lambda _: None)
    with progress.on(Console(stderr=True, quiet=True)) as shown:
        first = next(iter(pipeline.check_simulated("6.1", patched, seed=1, progress=shown)))
    assert first.status is Status.FAIL


def test_an_equivalent_edit_is_not_found() -> None:
    tree = source.fetch(source.load("6.1"), progress=lambda _: None)
    patched = series.apply(
        tree, series.load(str(faults.load("6.1", "copy-after-record").path)), progress=lambda _: None
    )
    with progress.on(Console(stderr=True, quiet=True)) as shown:
        assert {c.status for c in pipeline.check_simulated("6.1", patched, seed=1, progress=shown)} == {
            Status.PASS
        }
