# SPDX-License-Identifier: GPL-2.0-only
"""What zsmalloc touches of struct page is found wherever it hides."""

from __future__ import annotations

import pytest

from toolkit.errors import SourceError
from toolkit.kernel import arch as arches
from toolkit.kernel import build, kconfig, source
from toolkit.kernel.pageless import SOURCE, Touch, touches

TRIPLET = "x86_64-linux-gnu"

HEADER = """\
# 1 "include/linux/page.h" 1
struct zspage { int magic; };
struct page { unsigned long flags; union { struct { unsigned long index, private; }; int other; }; };
enum pageflags { PG_locked, PG_private };
static inline int PagePrivate(struct page *page) { return (page->flags >> PG_private) & 1; }
static inline void *page_address(struct page *page) { return (void *)page->private; }
void get_page(struct page *page);
void lock_page_slow(struct page *page);
static inline void lock_page(struct page *page) { if (page->flags & PG_locked) lock_page_slow(page); }
# 1 "mm/zsmalloc.c"
"""


def found(body: str) -> list[str]:
    return [str(touch) for touch in touches(HEADER + body, TRIPLET)]


def test_a_field_in_an_anonymous_union_is_named_as_code_names_it() -> None:
    body = "\nstatic unsigned long f(struct page *page) { return page->index; }\n"
    assert found(body) == ["mm/zsmalloc.c:2: f() touches page.index"]


def test_a_flag_is_found_through_the_inline_function_that_hides_it() -> None:
    assert touches(HEADER + "int f(struct page *page) { return PagePrivate(page); }\n", TRIPLET) == (
        Touch("f", 1, "page.flags", ("PagePrivate",)),
        Touch("f", 1, "PG_private", ("PagePrivate",)),
    )


def test_an_outside_function_that_is_handed_a_page_is_named_with_the_way_to_it() -> None:
    assert "call lock_page_slow" in [
        t.what for t in touches(HEADER + "void f(struct page *p) { lock_page(p); }\n", TRIPLET)
    ]


def test_what_takes_a_page_as_a_name_of_memory_or_counts_it_is_not_followed() -> None:
    assert found("void *f(struct page *page) { get_page(page); return page_address(page); }\n") == []


def test_a_cast_that_would_hide_what_is_touched_is_found() -> None:
    body = "int f(struct page *page) { return ((struct zspage *)page)->magic; }\n"
    assert found(body) == ["mm/zsmalloc.c:1: f() touches cast zspage"]


OVERLAY = """\
struct zpdesc { unsigned long word, next, private; };
"""


@pytest.mark.parametrize(
    ("field", "means"),
    [
        pytest.param("next", "page.index", id="another name"),
        pytest.param("private", "page.private", id="the same name"),
        pytest.param("word", "page.flags", id="a name that says nothing"),
    ],
)
def test_a_structure_laid_over_the_page_touches_the_words_that_lie_there(field: str, means: str) -> None:
    body = f"{OVERLAY}unsigned long f(struct zpdesc *zpdesc) {{ return zpdesc->{field}; }}\n"
    assert found(body) == [f"mm/zsmalloc.c:2: f() touches {means}"]


def test_a_name_of_the_page_in_another_place_is_not_what_it_says() -> None:
    body = (
        "struct zpdesc { unsigned long word, private; };\n"
        "unsigned long f(struct zpdesc *zpdesc) { return zpdesc->private; }\n"
    )
    assert found(body) == ["mm/zsmalloc.c:2: f() touches page.index"]


def test_a_name_of_the_page_over_more_than_one_word_is_not_what_it_says() -> None:
    body = (
        "struct pair { long a, b; };\nstruct zpdesc { unsigned long word; struct pair index; };\n"
        "long f(struct zpdesc *zpdesc) { return zpdesc->index.b; }\n"
    )
    assert found(body) == ["mm/zsmalloc.c:3: f() touches zpdesc.index"]


def test_structures_that_are_embedded_by_their_name_alone_do_not_hide_the_rest() -> None:
    body = (
        "struct head { int refcount; };\nstruct name { struct head; };\n"
        "int f(struct name *name, struct page *page) { return name->refcount + page->index; }\n"
    )
    assert found(body) == ["mm/zsmalloc.c:3: f() touches page.index"]


def test_functions_of_headers_that_zsmalloc_does_not_call_do_not_count() -> None:
    assert found("int f(int x) { return x; }\n") == []


def test_a_builtin_that_only_gcc_has_does_not_hide_the_rest() -> None:
    body = (
        "static char s[4];\n"
        "enum { ENDS = !__builtin_has_attribute(s, nonstring) };\n"
        "int f(struct page *page) { return ENDS + page->index; }\n"
    )
    assert found(body) == ["mm/zsmalloc.c:3: f() touches page.index"]


def test_source_that_does_not_parse_is_refused_rather_than_called_clean() -> None:
    with pytest.raises(SourceError, match="cannot be parsed") as caught:
        touches(HEADER + "int f( {\n", TRIPLET)
    assert "expected" in caught.value.detail


def test_a_file_without_a_function_of_zsmalloc_is_refused_rather_than_called_clean() -> None:
    with pytest.raises(SourceError, match="no function"):
        touches("int x;\n", TRIPLET)


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("kernel", "index"), [("6.1", "page.index"), ("6.12", "page.index"), ("latest", "page.__folio_index")]
)
@pytest.mark.parametrize("name", arches.names())
def test_stock_zsmalloc_is_found_to_touch_what_the_variants_forbid(
    name: str, kernel: str, index: str
) -> None:
    arch = arches.load(name)
    tree = source.fetch(source.load(kernel), progress=print)
    config = build.configure(tree, arch, kconfig.compose("base", arch, tree.release))
    found = touches(build.preprocess(tree, arch, config, SOURCE, progress=print), arch.triplet)
    assert {"page.private", index, "page.page_type", "PG_private", "PG_locked"} <= {t.what for t in found}
    assert {t.function for t in found if t.what == "page.private"} >= {"get_zspage", "create_page_chain"}
