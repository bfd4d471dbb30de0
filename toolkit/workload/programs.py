# SPDX-License-Identifier: GPL-2.0-only
"""Running the guest programs of rigs/guest/, and turning what they report into checks."""

from __future__ import annotations

import json
import shlex
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.errors import CommandError
from toolkit.rig.guest import Guest, Output
from toolkit.workload import Bench

# The exit statuses of our guest programs, as rigs/guest/report.h defines them.
CONTENT_INTACT = 0
CONTENT_WRONG = 1
IO_FAILED = 3

# Ends after so many operations of each thread, too: a fast guest must not fill the trace's buffers.
CHURN = "zblk churn --mix=churn --operations=20000"

# Of a program's report, what a floor may ask for.
_COUNTERS = (
    "writes",
    "reads",
    "discards",
    "bytes_written",
    "bytes_verified",
    "resets",
    "sessions",
    "cycles",
    "offlined",
)

# From the kernel's include/uapi/linux/auxvec.h.
_AT_NULL, _AT_PAGESZ = 0, 6


@dataclass(frozen=True)
class Report:
    """The line of JSON that a guest program printed."""

    values: Mapping[str, Any]

    def number(self, key: str) -> int:
        value = self.values[key]
        if not isinstance(value, int):
            raise TypeError(f"{key} is no number but {value!r}")
        return value


def run(bench: Bench, label: str, command: str) -> Report:
    """Run one guest program; `label` names its checks.

    Content that came back wrong is recorded as a failed check.  An I/O error is
    too, and ends the workload with CommandError, for nothing is known about the
    content after it.  Any other status only raises CommandError.
    """
    output = bench.guest.execute(
        command, deadline=bench.deadline, ok=(CONTENT_INTACT, CONTENT_WRONG, IO_FAILED)
    )
    return _judge(bench, label, output)


def run_together(bench: Bench, commands: Mapping[str, str]) -> dict[str, Report]:
    """Run several guest programs at once, and judge each like `run` when all have ended.

    Keys are the labels.  A command may be a whole shell script, in a subshell of its own.
    """
    bench.guest.execute(f"{_together(commands)}\nwait", deadline=bench.deadline)
    return _reports(bench, commands)


def run_halted(bench: Bench, commands: Mapping[str, str], *, at: Sequence[str]) -> dict[str, Report]:
    """Like `run_together`, but halt all programs in the middle and take each of the checkpoints `at`.

    How often there was a program to halt is counted as "halts".
    """
    guest, deadline = bench.guest, bench.deadline
    names = " ".join(sorted({shlex.split(command)[0] for command in commands.values()}))

    def halt() -> None:
        for name in at:
            halted = guest.execute(_HALT.format(names=names), deadline=deadline).text.split()
            bench.count("halts", 1 if halted else 0)
            bench.checkpoint(name)
            guest.execute(f"killall -CONT {names} || true", deadline=deadline)

    return run_beside(bench, commands, halt)


def run_beside(bench: Bench, commands: Mapping[str, str], work: Callable[[], None]) -> dict[str, Report]:
    """Like `run_together`, and do `work` on this side while they run."""
    guest, deadline = bench.guest, bench.deadline
    guest.execute(f"({_together(commands)}\n) >/dev/null 2>&1", deadline=deadline)
    work()
    ended = " ".join(f"{_TOGETHER}/{shlex.quote(label)}.status" for label in commands)
    guest.execute(f"for f in {ended}; do while [ ! -s $f ]; do sleep 0.1; done; done", deadline=deadline)
    return _reports(bench, commands)


_TOGETHER = "/tmp/together"

# Lets programs run for a second, stops them, and prints the processes of which no thread runs any more.
_HALT = """sleep 1
killall -STOP {names}
for pid in $(pidof {names}); do
    until ! grep -hv ') [TZX] ' /proc/$pid/task/*/stat >/dev/null 2>&1; do sleep 0.01; done
    echo $pid
done"""


def _together(commands: Mapping[str, str]) -> str:
    """A shell script that starts all commands and keeps what each prints."""
    script = [f"rm -rf {_TOGETHER}; mkdir -p {_TOGETHER}"]
    for label, command in commands.items():
        base = f"{_TOGETHER}/{shlex.quote(label)}"
        script.append(f"( ( {command}\n) >{base}.out 2>{base}.err; echo $? >{base}.status ) &")
    return "\n".join(script)


def _reports(bench: Bench, commands: Mapping[str, str]) -> dict[str, Report]:
    reports = {}
    for label, command in commands.items():
        base = f"{_TOGETHER}/{label}"
        output = Output(
            command=command,
            status=int(bench.guest.read(f"{base}.status")),
            stdout=bench.guest.read(f"{base}.out"),
            stderr=bench.guest.read(f"{base}.err"),
        )
        reports[label] = _judge(bench, label, output)
    return reports


def page_bytes(guest: Guest) -> int:
    """The size of the guest's pages, as its kernel tells every program."""
    vector = guest.read("/proc/self/auxv")
    for kind, value in struct.iter_unpack("<QQ", vector):
        if kind == _AT_PAGESZ:
            return int(value)
        if kind == _AT_NULL:
            break
    raise CommandError("cat /proc/self/auxv", 0, "no AT_PAGESZ in the auxiliary vector")


def _judge(bench: Bench, label: str, output: Output) -> Report:
    stderr = output.stderr.decode("utf-8", "replace").strip()
    if output.status == IO_FAILED:
        bench.check(
            f"io/{label}",
            False,
            expected="no error",
            seen=stderr or f"status {output.status}",
            because="nothing here is allowed to fail",
        )
    if output.status not in (CONTENT_INTACT, CONTENT_WRONG):
        raise CommandError(output.command, output.status, stderr)
    lines = output.text.splitlines()
    if not lines:
        raise CommandError(output.command, output.status, "it printed no report")
    report = Report(json.loads(lines[-1]))
    for counter in _COUNTERS:
        if counter in report.values:
            bench.count(counter, report.number(counter))
    verified = report.values.get("bytes_verified", 0)
    if verified or output.status == CONTENT_WRONG:
        bench.check(
            f"content/{label}",
            output.status == CONTENT_INTACT,
            expected=f"{verified} bytes as they were written",
            seen=_describe(report),
            because="what is stored comes back unchanged",
        )
    return report


def _describe(report: Report) -> str:
    wrong = report.number("mismatches")
    if not wrong:
        return "the same"
    first = report.values["first_mismatch"]
    if first is None:
        return f"{wrong} wrong pages"
    where = ", ".join(f"{key} {value}" for key, value in first.items() if key != "looks_like")
    return f"{wrong} wrong pages; the first: {where} (it looks like {first['looks_like']})"
