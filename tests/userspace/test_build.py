# SPDX-License-Identifier: GPL-2.0-only
"""What is taken out of a tree, and what is compiled, is the tree's own."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.userspace.conftest import program_of, reader_of
from toolkit.deadline import Deadline
from toolkit.errors import BuildError, SourceError
from toolkit.store import Store
from toolkit.userspace.build import compile_tree, cut_function, cut_struct, materialize

HEADER = """\
struct pages {
	int other;
};

struct page {
	unsigned long flags;
	union {
		int a;
	};
} _struct_page_alignment;

struct page *page_of(int x);
"""

SOURCE = """\
static int first(void)
{
	return second(1);
}

const struct thing *second(struct page *page, struct page *other,
	int mode)
{
	if (page) {
		first();
	}
	return NULL;
}
EXPORT_SYMBOL(second);
"""


def test_a_struct_is_cut_out_with_what_follows_its_brace() -> None:
    cut = cut_struct(HEADER, "page")
    assert cut is not None
    assert cut.startswith("struct page {\n")
    assert cut.endswith("} _struct_page_alignment;\n")
    assert cut_struct(HEADER, "folio") is None


def test_a_function_is_cut_out_whole_and_a_call_of_it_is_not() -> None:
    cut = cut_function(SOURCE, "second")
    assert cut is not None
    assert cut.startswith("const struct thing *second(struct page *page, struct page *other,\n")
    assert cut.endswith("\treturn NULL;\n}\n")
    assert cut_function(SOURCE, "first") == "int first(void)\n{\n\treturn second(1);\n}\n"
    assert cut_function(SOURCE, "third") is None


def test_headers_that_nobody_gives_are_empty() -> None:
    tree = {
        "mm/zsmalloc.c": '#include <linux/module.h>\n#include <linux/list.h>\n#include "zpdesc.h"\n',
        "include/linux/list.h": "#include <linux/poison.h>\n/* lists */\n",
        "mm/zpdesc.h": "/* descriptors */\n",
    }
    files = materialize(tree.get)
    assert files["linux/module.h"] == files["linux/poison.h"] == ""
    assert files["linux/list.h"] == tree["include/linux/list.h"]
    assert files["zpdesc.h"] == files["mm/zpdesc.h"] == "/* descriptors */\n"
    assert files["mm/zsmalloc.c"] == tree["mm/zsmalloc.c"]


def test_a_tree_without_zsmalloc_is_refused() -> None:
    with pytest.raises(SourceError, match=r"no mm/zsmalloc\.c"):
        materialize({"Makefile": ""}.get)


@pytest.mark.kernel
def test_the_file_that_was_compiled_is_the_trees_to_the_byte() -> None:
    program = program_of("6.1", 4096)
    text = reader_of("6.1")("mm/zsmalloc.c")
    assert text is not None
    assert program.source_sha256 == hashlib.sha256(text.encode()).hexdigest()
    compiled = program.path.parent / "tree" / "mm" / "zsmalloc.c"
    assert compiled.read_text(encoding="utf-8") == text
    assert {"linux/list.h", "linux/page-flags.h", "linux/mm_types.h", "core.h"} <= set(program.taken)


@pytest.mark.kernel
def test_what_does_not_compile_is_told_with_the_compilers_words(tmp_path: Path) -> None:
    read = reader_of("6.1")

    def broken(path: str) -> str | None:
        text = read(path)
        return text and text.replace("zspage->inuse += val;", "zspage->inuse += vale;")

    with pytest.raises(BuildError, match="does not compile in user space") as caught:
        compile_tree(broken, page_size=4096, cache=Store(tmp_path), deadline=Deadline.after(600))
    assert "mm/zsmalloc.c:" in caught.value.detail
    assert "vale" in caught.value.detail
