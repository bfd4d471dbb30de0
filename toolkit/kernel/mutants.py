# SPDX-License-Identifier: GPL-2.0-only
"""Small wrong edits of a kernel's C source, made by rules and drawn by a seed, not by taste.

A source is read as libclang's tokens, without its headers, so that any version of it can be
mutated before anything was configured.  What the kernel's style promises is relied upon: a
function's body begins and ends in the first column.
"""

from __future__ import annotations

import difflib
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from clang import cindex
from clang.cindex import TokenKind

from toolkit.kernel import series

# What is mutated: all functions of a file that the expression matches.
SOURCES: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "mm/zsmalloc.c": re.compile(".*"),
        "drivers/block/zram/zram_drv.c": re.compile(
            "zram_(slot_.*|(get|set|test|clear)_.*|allocated|fill_page|free_page|accessed|meta_.*|rw_page|open)"
            "|is_partial_io|valid_io_request|update_.*|page_same_filled|.*_bdev(_a?sync)?|zram_sync_read"
            "|.*zram_bvec_.*|zram_bio_.*|.*zram_make_request|zram_submit_bio|zram_page_end_io|mark_idle"
            "|(disksize|reset|compact|writeback|idle|backing_dev)_store|zram_reset_device|zram_add|zram_remove"
        ),
        "mm/migrate.c": re.compile(
            "isolate_movable_page|putback_movable_pages?|move_to_new_folio|migrate_pages(_batch)?"
            "|_*unmap_and_move|_*migrate_folio_(unmap|move|undo_src|undo_dst|done|record|extract)"
        ),
    }
)

_BODY = re.compile(r"^(?P<head>[A-Za-z_][^\n;{}=#/]*\([^;{}]*\)[^;{}]*?)\n\{\n(?P<body>.*?)^\}", re.M | re.S)
_NAME = re.compile(r"(\w+)\s*\(")
# Functions that run once at boot, or never in a kernel whose drivers are built in.
_ONCE = re.compile(r"\b__(init|exit)\b")
# Statements whose loss nobody could see: assertions, messages, and what yields to others.
_UNSEEN = re.compile(r"\b(VM_)?(BUG|WARN)_ON\w*\b|\bpr_\w+|\bcond_resched\b|\bmight_\w+|\bprintk\b|\bASSERT")
_ORDER = re.compile(r"\b\w*(lock|unlock|_mb|_rmb|_wmb|barrier|freeze|isolation|get_page|put_page)\w*\s*\(")
_LOOSER = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_OPENING, _CLOSING = "([{", ")]}"


@dataclass(frozen=True)
class Mutant:
    """One edit: in `function` of `file`, the text at `line` that reads `before` reads `after`."""

    file: str
    function: str
    operator: str
    line: int
    before: str
    after: str
    # The diff, as `git apply` takes it.
    diff: str

    @property
    def name(self) -> str:
        return f"{self.function.strip('_').replace('_', '-')}-{self.operator}-{self.line}".lower()

    def patch(self, seed: int, planted_in: str = series.BASELINE) -> str:
        """The edit as a fault of the catalogue (see toolkit.kernel.faults)."""
        belongs = "" if planted_in == series.BASELINE else f"Series: {planted_in}\n"
        before, after = (" ".join(text.split()) for text in (self.before, self.after))
        prefix = Path(self.file).stem.removesuffix("_drv")
        return (
            f"Subject: [fault] {prefix}: {self.operator.replace('-', ' ')} in {self.function}()\n\n"
            f"At line {self.line}:\n    {before}\nbecomes\n    {after or '(nothing)'}\n\n"
            f"History: drawn with seed {seed}\nOperator: {self.operator}\nFunction: {self.function}\n"
            f"{belongs}\n---\n{self.diff}"
        )


@dataclass(frozen=True)
class _Token:
    text: str
    start: int
    end: int
    literal: bool
    name: bool


@dataclass(frozen=True)
class _Edit:
    operator: str
    start: int
    end: int
    after: str


def mutants(file: str, text: str) -> tuple[Mutant, ...]:
    """Every mutant of the functions of `file` (a key of SOURCES), in the order of the source."""
    wanted = SOURCES[file]
    found = []
    seen: set[str] = set()
    for match in _BODY.finditer(text):
        name = _NAME.search(match["head"])
        if name is None or not wanted.fullmatch(name[1]) or _ONCE.search(match["head"]):
            continue
        # A second definition is the one for kernels without some option.
        if name[1] in seen:
            continue
        seen.add(name[1])
        for edit in _edits(_tokens(match["body"]), match["body"]):
            start, end = match.start("body") + edit.start, match.start("body") + edit.end
            changed = text[:start] + edit.after + text[end:]
            found.append(
                Mutant(
                    file=file,
                    function=name[1],
                    operator=edit.operator,
                    line=text.count("\n", 0, start) + 1,
                    before=text[start:end],
                    after=edit.after,
                    diff=_diff(file, text, changed),
                )
            )
    return tuple(found)


def draw(candidates: Sequence[Mutant], number: int, seed: int) -> tuple[Mutant, ...]:
    """`number` of them: functions by lot, none twice before each was drawn; in each an operator by lot.

    A file has its share by the number of its functions.
    """
    generator = random.Random(seed)
    by_function: dict[tuple[str, str], dict[str, list[Mutant]]] = defaultdict(lambda: defaultdict(list))
    for candidate in candidates:
        by_function[candidate.file, candidate.function][candidate.operator].append(candidate)
    drawn: list[Mutant] = []
    while len(drawn) < number and by_function:
        functions = sorted(by_function)
        generator.shuffle(functions)
        for function in functions[: number - len(drawn)]:
            operators = by_function[function]
            operator = generator.choice(sorted(operators))
            drawn.append(operators[operator].pop(generator.randrange(len(operators[operator]))))
            if not operators[operator]:
                del operators[operator]
            if not operators:
                del by_function[function]
    return tuple(sorted(drawn, key=lambda mutant: (mutant.file, mutant.line, mutant.operator)))


def _tokens(body: str) -> tuple[_Token, ...]:
    unit = cindex.TranslationUnit.from_source(
        "body.c", unsaved_files=[("body.c", body)], options=cindex.TranslationUnit.PARSE_INCOMPLETE
    )
    # libclang counts bytes.
    assert body.isascii()
    return tuple(
        _Token(
            token.spelling,
            token.extent.start.offset,
            token.extent.end.offset,
            token.kind == TokenKind.LITERAL,
            token.kind == TokenKind.IDENTIFIER,
        )
        for token in unit.get_tokens(extent=unit.cursor.extent)
        if token.kind != TokenKind.COMMENT
    )


def _edits(tokens: Sequence[_Token], body: str) -> Iterator[_Edit]:
    closing = _pairs(tokens)
    for at, token in enumerate(tokens):
        following = tokens[at + 1].text if at + 1 < len(tokens) else ""
        if token.text == "if" and following == "(":
            end = closing[at + 1]
            start, stop = tokens[at + 1].end, tokens[end].start
            condition = body[start:stop]
            if not _UNSEEN.search(condition):
                yield _Edit("negate-condition", start, stop, f"!({condition})")
                yield _Edit("drop-condition", start, stop, f"0 && ({condition})")
        elif token.text in _LOOSER:
            yield _Edit("off-by-one", token.start, token.end, _LOOSER[token.text])
        elif token.literal and re.fullmatch("0|[1-9][0-9]*", token.text) and tokens[at - 1].text != "[":
            yield _Edit("wrong-constant", token.start, token.end, str(int(token.text) + 1))
        elif token.name and following == "(" and not _UNSEEN.match(f"{token.text}("):
            yield from _swapped(tokens, at + 1, closing[at + 1], body)
        if any(start < at < end for start, end in closing.items() if tokens[start].text != "{"):
            continue
        if (
            at == 0
            or tokens[at - 1].text in (";", "{", "}", "else", ":")
            or _ends_condition(tokens, at, closing)
        ):
            yield from _dropped(tokens, at, closing, body)


def _pairs(tokens: Sequence[_Token]) -> Mapping[int, int]:
    """Where each bracket that opens is closed."""
    pairs, opened = {}, []
    for at, token in enumerate(tokens):
        if token.text in _OPENING:
            opened.append(at)
        elif token.text in _CLOSING and opened:
            pairs[opened.pop()] = at
    return pairs


def _ends_condition(tokens: Sequence[_Token], at: int, closing: Mapping[int, int]) -> bool:
    """Whether the token before is the bracket that ends the condition of an if or a loop."""
    if tokens[at - 1].text != ")":
        return False
    opens = next((start for start, end in closing.items() if end == at - 1), 0)
    return opens > 0 and tokens[opens - 1].text in ("if", "while", "for", "for_each_zspage")


def _dropped(tokens: Sequence[_Token], at: int, closing: Mapping[int, int], body: str) -> Iterator[_Edit]:
    """The expression statement that begins here, without which the rest is still well-formed."""
    first = tokens[at]
    if not (first.name or first.text in ("*", "++", "--")):
        return
    # A type and a name: a declaration.
    if first.name and tokens[at + 1].name:
        return
    end = at
    while end < len(tokens) and tokens[end].text != ";":
        if tokens[end].text in ("{", "}", ":") or tokens[end].text == "#":
            return
        end = closing.get(end, end) + 1
    if end >= len(tokens):
        return
    statement = body[first.start : tokens[end].start]
    if _UNSEEN.search(statement) or re.fullmatch(r"\w+\s*\*\s*\w+(\s*,\s*\*?\w+)*", statement):
        return
    operator = "drop-order" if _ORDER.search(statement) else "drop-statement"
    yield _Edit(operator, first.start, tokens[end].start, "")


def _swapped(tokens: Sequence[_Token], opens: int, closes: int, body: str) -> Iterator[_Edit]:
    """The arguments of a call with its first two in the other order, where each is a plain name."""
    commas = []
    at = opens + 1
    while at < closes:
        if tokens[at].text == ",":
            commas.append(at)
        at = (_skip(tokens, at, closes) if tokens[at].text in _OPENING else at) + 1
    if not commas:
        return
    bounds = [opens, *commas, closes]
    for one, other in ((0, 1), (1, 2)):
        if other + 1 >= len(bounds):
            break
        left = tokens[bounds[one] + 1 : bounds[one + 1]]
        right = tokens[bounds[other] + 1 : bounds[other + 1]]
        if len(left) == len(right) == 1 and _is_variable(left[0]) and _is_variable(right[0]):
            after = f"{right[0].text}{body[left[0].end : right[0].start]}{left[0].text}"
            yield _Edit("swap-arguments", left[0].start, right[0].end, after)


def _is_variable(token: _Token) -> bool:
    return token.name and not token.text.isupper()


def _skip(tokens: Sequence[_Token], at: int, closes: int) -> int:
    depth = 0
    while at < closes:
        depth += (tokens[at].text in _OPENING) - (tokens[at].text in _CLOSING)
        if depth == 0:
            return at
        at += 1
    return at


def _diff(file: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{file}", f"b/{file}"
    )
    return f"diff --git a/{file} b/{file}\n" + "".join(lines)
