# SPDX-License-Identifier: GPL-2.0-only
"""What is compiled while a workload runs, and its time."""

import time
from pathlib import Path

from toolkit.deadline import Deadline
from toolkit.kernel.internals import Internals
from toolkit.kernel.symbols import Compiled, Symbols

_TAKES_S = 0.2


def _slow_compiled(file: str) -> Compiled:
    time.sleep(_TAKES_S)
    return Compiled(Path(file), Path(file).with_suffix(".o"))


def _slow_modules(sources: Path) -> Path:
    time.sleep(_TAKES_S)
    return sources


def _internals() -> Internals:
    return Internals(Symbols(Path("System.map"), _slow_compiled), _slow_modules)


def test_what_is_compiled_takes_no_time_of_the_workload() -> None:
    deadline = Deadline.after(10)
    known = _internals().beside(deadline)
    before = deadline.at_s
    assert known.modules().name == "modules"
    assert known.symbols.compiled("mm/zsmalloc.c").object == Path("mm/zsmalloc.o")
    assert deadline.at_s - before >= 2 * _TAKES_S


def test_what_fails_to_compile_takes_none_either() -> None:
    deadline = Deadline.after(10)
    before = deadline.at_s
    try:
        with deadline.suspended():
            time.sleep(_TAKES_S)
            raise OSError
    except OSError:
        pass
    assert deadline.at_s - before >= _TAKES_S
