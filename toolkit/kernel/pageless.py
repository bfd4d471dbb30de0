# SPDX-License-Identifier: GPL-2.0-only
"""What zsmalloc's source touches of struct page, and whether its variant allows that.

The preprocessed mm/zsmalloc.c is parsed by libclang.  From every function that the
file defines, calls are followed into the inline functions of the headers, so that
SetPagePrivate() counts as PG_private and as page->flags, wherever it hides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from clang import cindex
from clang.cindex import Cursor, CursorKind

from toolkit.errors import SourceError

SOURCE = "mm/zsmalloc.c"

# Functions for which a page is only a name of some memory: they find its contents, its
# number or its zone, allocate or free it.  Nothing of its owner's state is in them.
HANDLE_ONLY = frozenset(
    {
        "__free_page", "__free_pages", "alloc_page", "alloc_pages", "alloc_pages_node",
        "page_to_nid", "page_to_pfn", "page_to_section", "page_zone", "page_zonenum", "pfn_to_page",
        "copy_highpage", "copy_page", "flush_dcache_page", "kmap", "kmap_atomic", "kmap_local_page",
        "kunmap", "kunmap_atomic", "kunmap_local", "page_address",
        "dec_zone_page_state", "inc_zone_page_state", "mod_zone_page_state",
    }
)  # fmt: skip

# The reference count, as every user of a page may take and drop one, or freeze it.
COUNT = frozenset(
    {
        "get_page", "put_page", "try_get_page", "get_page_unless_zero", "page_count", "page_ref_count",
        "page_ref_freeze", "page_ref_unfreeze", "folio_get", "folio_put",
    }
)  # fmt: skip

# What a preprocessor has left is given to it a second time: not as output of one, for then
# no macro would take the place of a builtin that gcc has and this libclang may not have.
# 6.12 asks by it whether a string is declared as one without an end (__must_be_cstr()).
# 7.3 embeds structures by their name alone (-fms-extensions).
_CLANG_ARGUMENTS = (
    "-x", "c",
    "-D__builtin_has_attribute(object, attribute)=0",
    "-std=gnu11", "-fms-extensions", "-fshort-wchar", "-funsigned-char", "-w",
)  # fmt: skip

_MARKER = re.compile(r'# (\d+) "([^"]*)"')

# struct page under the names by which code reaches it.
_PAGE = "page"
_OVERLAYS = frozenset({_PAGE, "folio", "zpdesc"})


@dataclass(frozen=True)
class Touch:
    """One thing of struct page that a function of zsmalloc touches.

    `what` is a field ("page.index"), a flag ("PG_private") or an outside function that
    is handed a page ("call __SetPageMovable"); `via` are the inline functions between.
    A field of a structure that is laid over struct page is the field of the page that
    lies there, and only one of the same size: what it is called there decides nothing.
    """

    function: str
    line: int
    what: str
    via: tuple[str, ...]

    def __str__(self) -> str:
        through = f" through {' > '.join(self.via)}" if self.via else ""
        return f"{SOURCE}:{self.line}: {self.function}() touches {self.what}{through}"


@dataclass(frozen=True)
class Variant:
    """What a way of being pageless leaves to zsmalloc: nothing in a series can widen it.

    `fields` and `flags` may be touched, `calls` may be handed a page.
    """

    name: str
    fields: frozenset[str]
    flags: frozenset[str]
    calls: frozenset[str]

    def allows(self, touch: Touch) -> bool:
        """Whether this is left to zsmalloc.

        Testing a flag reads page.flags: that is allowed where the flag, which is
        reported as well, decides.
        """
        if touch.what == "page.flags" and touch.via:
            return True
        kind, _, name = touch.what.partition(" ")
        return name in self.calls if kind == "call" else touch.what in self.fields | self.flags


# The words and flags that a page has for its owner and, while it is isolated, for migration.
OWNER = Variant(
    name="owner",
    fields=frozenset({"page.owner", "page.owner_order", "page.lru"}),
    flags=frozenset({"PG_isolated"}),
    calls=frozenset({"dump_page"}),
)

# The head, and nothing else.
COMPOUND = Variant(
    name="compound",
    fields=frozenset({"page.compound_head"}),
    flags=frozenset(),
    calls=frozenset({"dump_page"}),
)

VARIANTS: Mapping[str, Variant] = {variant.name: variant for variant in (OWNER, COMPOUND)}


def lint(preprocessed: str, triplet: str, variant: Variant) -> tuple[Touch, ...]:
    """What SOURCE touches of struct page that its variant does not allow; see touches()."""
    return tuple(touch for touch in touches(preprocessed, triplet) if not variant.allows(touch))


def touches(preprocessed: str, triplet: str) -> tuple[Touch, ...]:
    """Everything that SOURCE touches of struct page, in the order of its functions, without repeats.

    `preprocessed` is the output of `make mm/zsmalloc.i`; `triplet` the architecture's
    GNU triplet.  SourceError if libclang cannot parse it, or finds no function of
    zsmalloc in it.
    """
    unit = cindex.Index.create().parse(
        "zsmalloc.i",
        args=[*_CLANG_ARGUMENTS, "-target", triplet],
        unsaved_files=[("zsmalloc.i", preprocessed)],
    )
    errors = [str(d) for d in unit.diagnostics if d.severity >= cindex.Diagnostic.Error]
    if errors:
        raise SourceError(f"{SOURCE} cannot be parsed by libclang", detail="\n".join(errors[:20]))
    reader = _Reader(unit.cursor, _origins(preprocessed))
    found = dict.fromkeys(touch for function in reader.own for touch in reader.touched_by(function))
    if not reader.own:
        raise SourceError(f"no function of {SOURCE} in what was preprocessed")
    return tuple(found)


class _Reader:
    """The functions of one translation unit, by name."""

    def __init__(self, unit: Cursor, origins: Sequence[tuple[str, int]]) -> None:
        self._unit = unit
        self._origins = origins

    @cached_property
    def definitions(self) -> Mapping[str, Cursor]:
        return {
            cursor.spelling: cursor
            for cursor in self._unit.get_children()
            if cursor.kind == CursorKind.FUNCTION_DECL and cursor.is_definition()
        }

    @cached_property
    def own(self) -> tuple[Cursor, ...]:
        return tuple(c for c in self.definitions.values() if self._origin(c)[0].endswith(SOURCE))

    def _origin(self, cursor: Cursor) -> tuple[str, int]:
        line: int = cursor.location.line
        return self._origins[line - 1]

    def touched_by(self, function: Cursor) -> Iterator[Touch]:
        names = {own.spelling for own in self.own}
        for what, line, via in self._walk(function, (), set(names)):
            yield Touch(function.spelling, line, what, via)

    def _walk(
        self, function: Cursor, via: tuple[str, ...], seen: set[str]
    ) -> Iterator[tuple[str, int, tuple[str, ...]]]:
        """What a body touches; `line` is the line in SOURCE from which it is reached."""
        for cursor in function.walk_preorder():
            line = self._origin(cursor)[1]
            if cursor.kind == CursorKind.MEMBER_REF_EXPR:
                field = self._field_of_page(cursor.referenced)
                if field:
                    yield field, line, via
            elif cursor.kind == CursorKind.CSTYLE_CAST_EXPR and not via:
                target = _cast_of_page(cursor)
                if target:
                    yield f"cast {target}", line, via
            elif cursor.kind == CursorKind.DECL_REF_EXPR:
                referenced = cursor.referenced
                if referenced is None:
                    continue
                name = referenced.spelling
                if referenced.kind == CursorKind.ENUM_CONSTANT_DECL and name.startswith("PG_"):
                    yield name, line, via
                elif referenced.kind == CursorKind.FUNCTION_DECL:
                    if name in HANDLE_ONLY or name in COUNT:
                        continue
                    definition = self.definitions.get(name)
                    if definition is None:
                        if _takes_page(referenced):
                            yield f"call {name}", line, via
                    elif name not in seen:
                        seen.add(name)
                        for what, _, deeper in self._walk(definition, (*via, name), seen):
                            yield what, line, deeper

    @cached_property
    def _words(self) -> Mapping[tuple[int, int], Sequence[str]]:
        """The names of struct page's fields by their place: offset and size in bits and bytes."""
        page = next(
            (
                cursor
                for cursor in self._unit.get_children()
                if cursor.kind == CursorKind.STRUCT_DECL
                and cursor.spelling == _PAGE
                and cursor.is_definition()
            ),
            None,
        )
        words: dict[tuple[int, int], list[str]] = {}
        for field in _named_fields(page) if page is not None else ():
            words.setdefault(_place(page, field), []).append(field.spelling)
        return words

    def _field_of_page(self, field: Cursor | None) -> str:
        """ "page.index" for a field of struct page, however deep in anonymous members; else ""."""
        if field is None or field.kind != CursorKind.FIELD_DECL or _is_anonymous_member(field):
            return ""
        record = field.semantic_parent
        while record is not None and record.is_anonymous():
            record = record.semantic_parent
        if record is None or record.spelling not in _OVERLAYS:
            return ""
        if record.spelling == _PAGE:
            return f"{_PAGE}.{field.spelling}"
        names = self._words.get(_place(record, field), ())
        if not names:
            return f"{record.spelling}.{field.spelling}"
        return f"{_PAGE}.{field.spelling if field.spelling in names else names[0]}"


def _is_anonymous_member(field: Cursor) -> bool:
    return bool(field.type.get_declaration().is_anonymous())


def _named_fields(record: Cursor) -> Iterator[Cursor]:
    """The fields of a record that code can name, those of anonymous members among them."""
    for field in record.type.get_fields():
        if _is_anonymous_member(field):
            yield from _named_fields(field.type.get_declaration())
        else:
            yield field


def _place(record: Cursor, field: Cursor) -> tuple[int, int]:
    return record.type.get_offset(field.spelling), field.type.get_size()


def _origins(preprocessed: str) -> Sequence[tuple[str, int]]:
    """File and line that each line came from, by the preprocessor's line markers."""
    origins = []
    file, line = "", 0
    for text in preprocessed.splitlines():
        origins.append((file, line))
        marker = _MARKER.match(text)
        if marker:
            line, file = int(marker[1]), marker[2]
        else:
            line += 1
    return origins


def _cast_of_page(cast: Cursor) -> str:
    """The record that a struct page is cast to, which would hide what is touched; else ""."""
    operand = [child for child in cast.get_children() if child.kind.is_expression()]
    if (
        not operand
        or operand[-1].type.get_canonical().get_pointee().get_declaration().spelling not in _OVERLAYS
    ):
        return ""
    record = cast.type.get_canonical().get_pointee().get_declaration()
    return (
        ""
        if record.kind == CursorKind.NO_DECL_FOUND or record.spelling in _OVERLAYS
        else str(record.spelling)
    )


def _takes_page(function: Cursor) -> bool:
    pointees = (argument.type.get_pointee().get_declaration() for argument in function.get_arguments())
    return any(pointee.spelling in _OVERLAYS for pointee in pointees)
