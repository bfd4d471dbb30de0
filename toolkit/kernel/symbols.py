# SPDX-License-Identifier: GPL-2.0-only
"""Where a kernel's code lies: addresses by symbol, by offset and by line of its source."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from toolkit.errors import HostError, UnreachedError


class NoSuchPlaceError(UnreachedError):
    """The kernel has no such symbol, or its source no such line: what was to be tested is not in it."""


@dataclass(frozen=True)
class Place:
    """Instructions of a kernel, as a race names them.

    Without `lines`, the one `offset` bytes into `function`.  With them, all those at which the
    code of a line of `function`, in `file`, begins: the first line that has the first of these
    texts in it, or the next text where no line has that.
    """

    function: str
    offset: int = 0
    file: str = ""
    lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.lines:
            return f"{self.function}(), the line with {' or '.join(map(repr, self.lines))}"
        return self.function + (f"+{self.offset:#x}" if self.offset else "")


@dataclass(frozen=True)
class Compiled:
    """A C file of a kernel, and an object of it that was compiled alike but with line numbers."""

    source: Path
    object: Path


@dataclass(frozen=True)
class Symbols:
    """The symbols of one kernel; `compiled` gives a C file by its path in the tree, on demand."""

    system_map: Path
    compiled: Callable[[str], Compiled]

    def addresses(self, place: Place) -> tuple[int, ...]:
        """Where a place is, lowest first; NoSuchPlaceError if it is nowhere."""
        start = self.address(place.function)
        if not place.lines:
            return (start + place.offset,)
        compiled = self.compiled(place.file)
        offsets = line_offsets(compiled, place.file, place.function, place.lines)
        room = self._room(start)
        if max(offsets) >= room:
            raise HostError(f"{place.function}() is compiled otherwise than it was for the kernel")
        return tuple(start + offset for offset in offsets)

    def address(self, symbol: str) -> int:
        try:
            return self._by_name[symbol]
        except KeyError:
            raise NoSuchPlaceError(
                f"the kernel has no symbol {symbol}", hint="was it inlined, or is its option not configured?"
            ) from None

    def has(self, function: str) -> bool:
        """Whether there is code of that name, that is, it was not inlined."""
        return function in self._by_name

    def variable(self, symbol: str) -> int | None:
        """Where a variable is, or None if the kernel has none of that name."""
        return self._variables.get(symbol)

    def name(self, address: int) -> str:
        """The symbol at or before an address, with the offset from it."""
        at = bisect.bisect_right(self._sorted, (address, "\U0010ffff")) - 1
        if at < 0:
            return f"{address:#x}"
        start, name = self._sorted[at]
        return name + (f"+{address - start:#x}" if address != start else "")

    def _room(self, start: int) -> int:
        """Bytes from one symbol to the next."""
        following = bisect.bisect_right(self._sorted, (start, "\U0010ffff"))
        return self._sorted[following][0] - start

    @functools.cached_property
    def _sorted(self) -> list[tuple[int, str]]:
        # Beside functions it lists, among data, values that are no addresses ("A").
        return sorted(self._of("tTwW"))

    @functools.cached_property
    def _variables(self) -> dict[str, int]:
        return {name: address for address, name in self._of("bBdD")}

    def _of(self, kinds: str) -> Iterator[tuple[int, str]]:
        """The addresses and names of the symbols of these kinds, as nm has them."""
        for row in self.system_map.read_text(encoding="ascii").splitlines():
            address, kind, name = row.split()
            if kind in kinds:
                yield int(address, 16), name

    @functools.cached_property
    def _by_name(self) -> dict[str, int]:
        return {name: address for address, name in self._sorted}


def line_offsets(compiled: Compiled, file: str, function: str, texts: tuple[str, ...]) -> tuple[int, ...]:
    """How far into a function the code of a line of its source begins, once for each run of it.

    The line is the first one of the function that has code and the first of the texts in it,
    or the next text where none has; NoSuchPlaceError if there is none.
    """
    lines = compiled.source.read_text(encoding="utf-8").splitlines()
    with compiled.object.open("rb") as stream:
        elf = ELFFile(stream)
        start, end = _range(elf, function, file)
        rows = _rows(elf, Path(file).name, function, start, end, lines)
    with_code = sorted({line for _, line in rows if line is not None})
    matching = (number for text in texts for number in with_code if text in lines[number - 1])
    wanted = next(matching, None)
    if wanted is None:
        asked = " or ".join(map(repr, texts))
        raise NoSuchPlaceError(f"{function}() in {file} has no line with code and the text {asked}")
    before = (None, *(line for _, line in rows))
    begins = {address for (address, line), last in zip(rows, before, strict=False) if line == wanted != last}
    return tuple(sorted(address - start for address in begins))


def _range(elf: ELFFile, name: str, file: str) -> tuple[int, int]:
    """The first address of a function in its section, and the one behind it."""
    for section in elf.iter_sections():
        if isinstance(section, SymbolTableSection):
            for symbol in section.get_symbol_by_name(name) or ():
                if symbol["st_info"]["type"] == "STT_FUNC":
                    start: int = symbol["st_value"]
                    return start, start + symbol["st_size"]
    raise NoSuchPlaceError(f"{file} has no function {name}() of its own")


def _rows(
    elf: ELFFile, file: str, function: str, start: int, end: int, lines: list[str]
) -> list[tuple[int, int | None]]:
    """Where statements of a function begin, by address: the line in `file`, None in another file.

    Every section of an object starts at address 0, so of those that have code in that range
    the function's is the one that begins there at the function's head.
    """
    dwarf = elf.get_dwarf_info()
    for unit in dwarf.iter_CUs():
        for rows in _sequences(dwarf.line_program_for_CU(unit), file):
            inside = [(address, line) for address, line in rows if start <= address < end]
            if inside and inside[0][0] == start:
                head = inside[0][1] or 0
                # A head may take several lines; gcc calls that of the brace or of the name the first.
                if any(f"{function}(" in line for line in lines[max(0, head - 8) : head]):
                    return inside
    raise NoSuchPlaceError(f"{function}() has no code of {file}")


def _sequences(program: Any, file: str) -> Iterator[list[tuple[int, int | None]]]:
    """The rows of a line program, section by section, in the order of their addresses."""
    if program is None:
        return
    entries = program["file_entry"]
    # Files are counted from 1 before DWARF 5.
    first = 0 if program["version"] >= 5 else 1
    rows: list[tuple[int, int | None]] = []
    for entry in program.get_entries():
        state = entry.state
        if state is None:
            continue
        if state.end_sequence:
            yield rows
            rows = []
        elif state.is_stmt:
            name = entries[state.file - first].name.decode()
            rows.append((state.address, state.line if name == file else None))
