# SPDX-License-Identifier: GPL-2.0-only
"""Drive a compiled zsmalloc: requests in batches to a process of its own, answers back.

A process rather than ctypes: what the sanitizers or the checks of the shims find ends
that process and not ours, and its last words are the finding.
"""

from __future__ import annotations

import contextlib
import re
import select
import tempfile
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import IO

import numpy as np
from numpy.typing import NDArray

from toolkit.collect import zsmalloc
from toolkit.deadline import Deadline
from toolkit.errors import CrashError, DeadlineError, HangError
from toolkit.model.geometry import Geometry
from toolkit.model.pool import ClassRow
from toolkit.run import PIPE, start
from toolkit.userspace.build import Program


class Request(IntEnum):
    """One request (a, b, c); the numbers are those of shim/driver.h.

    A pool is a slot from 0 to 15, an object an id that the caller chooses. Every object
    is filled when it is made and compared when it is freed.
    """

    CREATE = 0  # pool a
    DESTROY = 1  # pool a, which must be empty
    MALLOC = 2  # in pool a, of b bytes, as object c
    FREE = 3  # object c
    VERIFY = 4  # compare object c
    REWRITE = 5  # compare object c and write something else
    COMPACT = 6  # pool a: the pages that it freed
    ISOLATE = 7  # the page in which object c begins: its number, or an errno
    MIGRATE = 8  # the page isolated last but b, mode a: 0, 1 if it was freed meanwhile, or an errno
    PUTBACK = 9  # the page isolated last but b
    HOLD = 10  # lock the page of object c, as holder a (0 to 7)
    RELEASE = 11  # what holder a locked
    RUN_WORK = 12  # all deferred work; refused while a page is held
    FAIL_PAGE = 13  # the b-th page of the next MALLOC or CREATE is not to be had
    FAIL_SLAB = 14  # likewise the b-th object of a slab
    CONTEND = 15  # every b-th question whether a lock is contended is answered by yes
    SHRINK_COUNT = 16  # pool a: what its shrinker counts
    SHRINK_SCAN = 17  # pool a: what its shrinker freed
    TOTAL_PAGES = 18  # pool a
    PAGES_COMPACTED = 19  # pool a
    HUGE_SIZE = 20  # zs_huge_class_size()
    PAGES_TAKEN = 21  # pages that anybody holds
    ZONE_PAGES = 22  # NR_ZSPAGES of all zones
    SLAB_OBJECTS = 23  # of all caches and kmalloc()
    CLASSES = 24  # pool a: text, debugfs `classes`
    LAYOUT = 25  # pool a: text, see Library.layout()
    # Isolate and migrate, mode a, the next movable page from the b-th page on; or only put it back (a = 3).
    MOVE = 26
    # Fill and compare objects and lay pages far apart (a = 1, as at first), or be fast (0); the next
    # page frames are those from the b-th.  Refused while a page is taken.
    CONTENT = 27
    # The b requests that follow, shared out over a CPUs (1 to 4), one after the other to each; the CPUs
    # take turns as seed c says.  Only such as may meet: MALLOC, FREE, VERIFY, REWRITE, COMPACT,
    # SHRINK_SCAN, MOVE, RUN_WORK, HUGE_SIZE, of objects up to the highest id before, each on one CPU.
    TOGETHER = 28


# The answer to a request that made no sense when it came.
REFUSED = -(1 << 63)

EBUSY, EINVAL, ENOMEM, ENOSPC = 16, 22, 12, 28

REQUEST = np.dtype([("op", "<u4"), ("a", "<u4"), ("b", "<u8"), ("c", "<u8")])
_LARGEST_BATCH = 32768
# A batch takes milliseconds: one that takes this long loops over a broken list.
_ANSWER_WITHIN_S = 10.0
# The directory in front of a file's name in the tree that was compiled (toolkit.userspace.build).
_BUILT_IN = re.compile(r"/\S*/tree/")

# One request as (op, a, b, c).
Row = tuple[int, int, int, int]

# By (class index, fullness group), from the head of its list on: the object in each
# place that is taken, by place.
ListLayout = dict[tuple[int, int], list[dict[int, int]]]


class Library:
    """A running program; use open_library()."""

    def __init__(
        self, program: Program, stdin: IO[bytes], stdout: IO[bytes], last_words: IO[bytes], deadline: Deadline
    ) -> None:
        self.program = program
        self._stdin = stdin
        self._stdout = stdout
        self._last_words = last_words
        self._deadline = deadline
        # What the module holds before there is a pool.
        self.slab_objects_at_start = self.ask(Request.SLAB_OBJECTS)

    def submit(self, requests: Sequence[Row] | NDArray[np.void]) -> NDArray[np.int64]:
        """The answers to the requests, in order; see Request.

        Raises CrashError, with what the program said, if a check of its failed;
        HangError if it loops.
        """
        rows = np.asarray(requests, dtype=REQUEST)
        answers = [
            self._exchange(rows[at : at + _LARGEST_BATCH])[0] for at in range(0, len(rows), _LARGEST_BATCH)
        ]
        return np.concatenate(answers) if answers else np.empty(0, dtype=np.int64)

    def ask(self, op: Request, a: int = 0, b: int = 0, c: int = 0) -> int:
        """The answer to one request."""
        return int(self.submit([(op, a, b, c)])[0])

    def classes(self, pool: int, geometry: Geometry) -> tuple[ClassRow, ...]:
        """The pool's table, from the text that the tree's own code prints to debugfs."""
        return tuple(
            ClassRow(
                index=row.index,
                size=row.size,
                fullness=tuple(row.fullness[name] for name in geometry.fullness_columns),
                obj_allocated=row.obj_allocated,
                obj_used=row.obj_used,
                pages_used=row.pages_used,
                pages_per_zspage=row.pages_per_zspage,
                freeable=row.freeable,
            )
            for row in zsmalloc.parse(self._text(Request.CLASSES, pool)).rows
        )

    def layout(self, pool: int) -> ListLayout:
        """Which object lies where: lists that are empty are left out."""
        zspages: dict[str, dict[int, int]] = {}
        lists: ListLayout = {}
        for line in self._text(Request.LAYOUT, pool).splitlines():
            kind, *words = line.split()
            if kind == "z":
                index, group, address = words
                lists.setdefault((int(index), int(group)), []).append(zspages.setdefault(address, {}))
            else:
                identity, address, place = words
                # A zspage that is on no list is one that the tree lost: its objects are missing then.
                zspages.setdefault(address, {})[int(place)] = int(identity)
        return lists

    def _text(self, op: Request, pool: int) -> str:
        answers, text = self._exchange(np.array([(op, pool, 0, 0)], dtype=REQUEST))
        if answers[0] < 0:
            raise ValueError(f"{op.name} of pool {pool}: {answers[0]}")
        return text.decode()

    def _exchange(self, rows: NDArray[np.void]) -> tuple[NDArray[np.int64], bytes]:
        try:
            self._stdin.write(len(rows).to_bytes(8, "little") + rows.tobytes())
            self._stdin.flush()
            answers = np.frombuffer(self._read(8 * len(rows)), dtype="<i8")
            return answers, self._read(int.from_bytes(self._read(8), "little"))
        except (BrokenPipeError, EOFError):
            raise self._crash() from None

    def _read(self, size: int) -> bytes:
        parts: list[bytes] = []
        deadline = self._deadline.at_most(_ANSWER_WITHIN_S)
        while size:
            ready, _, _ = select.select([self._stdout], [], [], deadline.remaining_s)
            if not ready and self._deadline.passed:
                raise DeadlineError("there was no time left for zsmalloc in user space")
            if not ready:
                raise HangError(
                    f"zsmalloc in user space did not answer for {_ANSWER_WITHIN_S:.0f} s: it loops"
                )
            part = self._stdout.read1(size)  # type: ignore[attr-defined]  # a BufferedReader
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _crash(self) -> CrashError:
        self._last_words.seek(0)
        said = self._last_words.read().decode("utf-8", "replace").strip()
        lines = said.splitlines()
        telling = [
            line
            for line in lines
            if line.startswith(("BUG", "WARNING", "CHECK")) or "runtime error" in line or "ERROR:" in line
        ]
        message = telling[0] if telling else (lines[-1] if lines else "it ended without a word")
        # The sanitizers name files by where they were compiled, which is of no use to anybody else.
        return CrashError(f"zsmalloc in user space: {_BUILT_IN.sub('', message)}", detail=said[-4000:])


@contextlib.contextmanager
def open_library(program: Program, *, deadline: Deadline) -> Iterator[Library]:
    """A process of `program`, without any pool; it is killed when the context ends."""
    environment = {
        # Leaks are found by counting (SLAB_OBJECTS, PAGES_TAKEN): what static data still
        # points to at the end is none.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    with (
        tempfile.TemporaryFile() as last_words,
        start([program.path], env=environment, stdin=PIPE, stdout=PIPE, stderr=last_words) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        yield Library(program, process.stdin, process.stdout, last_words, deadline)
