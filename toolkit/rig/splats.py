# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own complaints, found in the text of a console or of dmesg.  Pure: text in, reports out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a report says about the guest, by what one may conclude from it."""

    SPLAT = "splat"  # a warning or a sanitizer's finding: the kernel runs on
    OOPS = "oops"  # a fault in the kernel: whatever it was doing is lost
    PANIC = "panic"  # the kernel stopped
    REBOOT = "reboot"  # a second banner: it started again
    HUNG = "hung"  # a task or a CPU that does not go on
    SLOW_HOST = "slow host"  # soft lockups and stalls: under TCG a busy host causes them too

    @property
    def fatal(self) -> bool:
        """Whether the guest's state is no longer worth anything."""
        return self in (Kind.OOPS, Kind.PANIC, Kind.REBOOT)


@dataclass(frozen=True)
class Report:
    """One complaint.

    `title` is its decisive line without the time stamp; `line` the number, from 0, of
    its first line in the text; `text` all its lines as they were; `frames` the
    functions of its first stack, innermost first, without the reporting machinery.
    """

    kind: Kind
    title: str
    line: int
    text: str
    frames: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """The same for the same trouble in another run: the type and the top three frames.

        Addresses, numbers, names of processes, and where in a function it was, are left out.
        """
        kind = self.title
        for pattern, replacement in _VOLATILE:
            kind = pattern.sub(replacement, kind)
        return " < ".join((kind.strip(), *self.frames[:3]))


# CONFIG_PRINTK_TIME's stamp, with CONFIG_PRINTK_CALLER's behind it; user space may have left
# half a line before it.
_STAMP = re.compile(r"\[ *\d+\.\d{6}\](?:\[ *[TC]\d+\])? ?")
_RULER = re.compile(r"={10,}$")
_CUT = re.compile(r"-{4,}\[ cut here \]-{4,}")
_END = re.compile(r"---\[ end (?:trace|Kernel panic)")
_TRACE = re.compile(r"call trace:$", re.IGNORECASE)
_FRAME = re.compile(r"\s+(\? )?(?:\[<[0-9a-fx]+>\] )?([A-Za-z_][\w.]*)\+0x[0-9a-f]+/0x[0-9a-f]+")
_MARKUP = re.compile(r"\s*</?(?:TASK|IRQ|NMI|SOFTIRQ|#[A-Z]+|EOI|ENTRY_TRAMPOLINE|[A-Z]+)>$")
# What registers say about the innermost frame: x86 and arm64.
_AT = re.compile(r"(?:RIP: [0-9a-f]+:|pc : )([A-Za-z_][\w.]*)\+0x")

# How many lines a report is followed, lockdep's with the chains of every lock, and any other
# to its next stack.
_LONGEST = 600
_NEAR = 80

# The first that matches the beginning of a line (after its stamp) decides.
_HEADS: Sequence[tuple[Kind, re.Pattern[str]]] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (Kind.PANIC, r"Kernel panic - not syncing"),
        (Kind.SLOW_HOST, r"(?:watchdog: )?BUG: soft lockup"),
        (Kind.SLOW_HOST, r"BUG: workqueue lockup"),
        (Kind.SLOW_HOST, r"(?:rcu: )?INFO: rcu\w* .*\bstall"),
        (Kind.SLOW_HOST, r"rcu: rcu\w* kthread (?:timer wakeup didn't happen|starved)"),
        (Kind.HUNG, r"(?:watchdog|NMI watchdog): .*hard LOCKUP"),
        (Kind.HUNG, r"INFO: task .* blocked (?:in I/O wait )?for more than"),
        (Kind.OOPS, r"BUG: (?:unable to handle|kernel NULL pointer dereference|TASK stack guard page)"),
        (Kind.OOPS, r"Oops\b"),
        (Kind.OOPS, r"Internal error: "),
        (Kind.OOPS, r"Unable to handle kernel "),
        (Kind.OOPS, r"general protection fault"),
        (Kind.OOPS, r"(?:divide error|invalid opcode|stack segment|double fault|traps: PANIC): "),
        (Kind.OOPS, r"kernel BUG at "),
        (Kind.OOPS, r"Unexpected kernel BRK exception"),
        # zsmalloc's own, when a pool is destroyed that still holds objects; SLUB's likewise, below.
        (Kind.SPLAT, r"(?:zsmalloc: )?Freeing non-empty class"),
        (Kind.SPLAT, r"BUG\b"),
        (Kind.SPLAT, r"\S+ \S+: Slab cache still has objects|Objects remaining in "),
        (Kind.SPLAT, r"\[ BUG: "),
        (Kind.SPLAT, r"WARNING\b"),
        (Kind.SPLAT, r"(?:UBSAN|KASAN|KCSAN|KFENCE): "),
        (Kind.SPLAT, r"(?:INFO: )?(?:possible (?:circular|recursive|irq lock)|inconsistent lock state)"),
        (Kind.SPLAT, r"(?:INFO: )?(?:suspicious RCU usage|trying to register non-static key)"),
        (Kind.SPLAT, r"refcount_t: "),
        (Kind.SPLAT, r"list_(?:add|del) corruption"),
        (Kind.SPLAT, r"[^:]+: page allocation failure"),
        (Kind.SPLAT, r"(?:kmemleak: )?unreferenced object 0x"),
        (Kind.SPLAT, r"kmemleak: \d+ new suspected memory leaks"),
    )
)
# Reports that stand between two rulers; lockdep's have one only above the head.
_RULED = re.compile(r"(?:BUG: )?(?:KASAN|KCSAN|KFENCE|UBSAN): ")
_BANNER = re.compile(r"Linux version \d")
# Reports that are complete in their one line.
_SINGLE = re.compile(r"(?:zsmalloc: )?Freeing non-empty class|kmemleak: ")
# Lines that match as heads but continue the oops that they stand in.
_CONTINUES = re.compile(r"Oops\b|Internal error: |KASAN: ")

# The functions that print, warn or trap, and stand above the one that matters.
_MACHINERY = re.compile(
    r"(?:_*dump_(?:stack|backtrace).*|show_(?:stack|trace|regs).*|_*warn(?:_printk|_slowpath.*)?|report_bug"
    r"|handle_bug|exc_\w+|asm_\w+|print_\w+|_*kasan_\w+|kasan_\w+|_*asan_\w+|_*hwasan_\w+|_*tsan_\w+"
    r"|kcsan_\w+|_*ubsan_\w+|ubsan_\w+|_*kfence_\w+|lockdep_\w+|__lock_acquire|lock_acquire(?:\.part\.\d+)?"
    r"|check_\w+|mark_lock\w*|_*might_(?:sleep|resched)\w*|refcount_warn_saturate|bad_page|slab_(?:err|bug)"
    r"|object_err|el1h?_\w+|bug_handler|brk_handler|do_debug_exception|call_break_hook|die\w*|page_fault_oops"
    r"|_*do_kernel_fault|do_(?:mem_abort|translation_fault|page_fault|user_addr_fault)|panic|warn_alloc"
    r"|\w+_regs|_*report_\w+|end_report\w*|__list_(?:add|del)_\w*valid\w*|dump_page|_*schedule_bug)$"
)
_SUFFIX = re.compile(r"(?:\.(?:constprop|isra|part|cold|llvm)(?:\.\d+)?)+$")

_VOLATILE: Sequence[tuple[re.Pattern[str], str]] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^WARNING: CPU: \d+ PID: \d+ at", "WARNING: at"),
        (r"(\.[chS])(?::\d+)+", r"\1"),
        (r"\+0x[0-9a-f]+/0x[0-9a-f]+", ""),
        (r"\bCPU\s*#?:?\s*\d+", "CPU"),
        (r" in process \S+.*", ""),
        (r"^[^:]+: (page allocation failure).*", r"\1"),
        (r"^(INFO: task) .* (blocked)", r"\1 \2"),
        (r" \[[^\]]*:\d+\]$", ""),
        (r"\b(?:0x)?[0-9a-f]{8,}\b", "ADDRESS"),
        (r"\b0x[0-9a-f]+\b", "N"),
        (r"(?<![\w.])\d+(?:\.\d+)?(?:s|ms|us|b)?\b(?!\.)", "N"),
    )
)


def alarm(line: str) -> Kind | None:
    """The kind of report that begins in this line, if one does: for a console read as it comes.

    A reboot is not seen here: it takes two banners.
    """
    return _kind(_body(line.rstrip("\r\n")))


def find_reports(text: str) -> tuple[Report, ...]:
    """Every complaint in `text`, in its order.

    If any line bears a time stamp, lines without one are user space's and are no head
    of a report.  A line with "BUG" or "WARNING" elsewhere than at its beginning is none.
    """
    lines = [line.rstrip("\r") for line in text.split("\n")]
    stamped = any(_STAMP.search(line) for line in lines)
    bodies = [_body(line) for line in lines]
    reports: list[Report] = []
    banners = 0
    position = 0
    while position < len(lines):
        body = bodies[position]
        if stamped and not _STAMP.search(lines[position]):
            position += 1
            continue
        if _BANNER.match(body):
            banners += 1
            if banners > 1:
                reports.append(Report(Kind.REBOOT, "unexpected reboot", position, lines[position], ()))
        cut = bool(_CUT.match(body)) and position + 1 < len(lines)
        kind = Kind.SPLAT if cut else _kind(body)
        if kind is None:
            position += 1
            continue
        ruled = position > 0 and bool(_RULER.match(bodies[position - 1]))
        first = position - 1 if ruled else position
        end = _end_of_cut(bodies, position) if cut else _end(bodies, position, kind, ruled=ruled)
        inside = bodies[position:end]
        reports.append(
            Report(
                kind=_worst(kind, inside) if cut else kind,
                # What stands below "cut here" is the sentence of WARN(), or else where it is.
                title=(inside[1] if cut and len(inside) > 1 else inside[0]).strip(),
                line=first,
                text="\n".join(lines[first:end]),
                frames=_frames(inside),
            )
        )
        position = end
    return tuple(reports)


def _body(line: str) -> str:
    """The line behind its last time stamp."""
    end = 0
    for stamp in _STAMP.finditer(line):
        end = stamp.end()
    return line[end:]


def _kind(body: str) -> Kind | None:
    return next((kind for kind, pattern in _HEADS if pattern.match(body)), None)


def _end_of_cut(bodies: Sequence[str], cut: int) -> int:
    """The line after the end of a report that began with "cut here": after "end trace", if it came."""
    limit = min(len(bodies), cut + _LONGEST)
    for position in range(cut + 1, limit):
        if _END.match(bodies[position]):
            return position + 1
        if _CUT.match(bodies[position]) or _BANNER.match(bodies[position]):
            return position
    return limit


def _end(bodies: Sequence[str], head: int, kind: Kind, *, ruled: bool) -> int:
    """The line after the report's last: a ruler, "end trace", or the end of its stack."""
    if _SINGLE.match(bodies[head]):
        return head + 1
    if ruled and _RULED.match(bodies[head]):
        for position in range(head + 1, min(len(bodies), head + _LONGEST)):
            if _RULER.match(bodies[position]):
                return position + 1
    end = head + 1
    # A line that is no head and has no stack after it stands alone: do not look too far.
    limit = head + (_LONGEST if ruled else _NEAR)
    position = head
    tracing = False
    while (position := position + 1) < min(len(bodies), limit):
        body = bodies[position]
        if _END.match(body):
            return position + 1
        if _CUT.match(body) or _RULER.match(body) or _BANNER.match(body):
            break
        if _TRACE.search(body):
            tracing = True
        elif tracing and not (_FRAME.match(body) or _MARKUP.match(body)):
            tracing = False
            if kind not in (Kind.OOPS, Kind.PANIC, Kind.SLOW_HOST):
                break
            limit = position + _NEAR
        elif _kind(body) is not None and not (kind is Kind.OOPS and _CONTINUES.match(body)):
            break
        if tracing:
            end = position + 1
    return end


def _worst(kind: Kind, inside: Sequence[str]) -> Kind:
    """A report between "cut here" and "end trace" can be a WARN() or a BUG(): the fault counts."""
    return Kind.OOPS if any(_kind(body) is Kind.OOPS for body in inside) else kind


def _frames(inside: Sequence[str]) -> tuple[str, ...]:
    """The functions of the first stack, innermost first."""
    frames: list[str] = []
    start = next((n for n, body in enumerate(inside) if _TRACE.search(body)), len(inside))
    for body in inside[:start]:
        at = _AT.match(body)
        if at:
            frames.append(at[1])
            break
    for body in inside[start + 1 :]:
        frame = _FRAME.match(body)
        if frame is None:
            if _MARKUP.match(body):
                continue
            break
        if frame[1] is None:
            frames.append(frame[2])
    kept: list[str] = []
    for name in (_SUFFIX.sub("", frame) for frame in frames):
        if not _MACHINERY.match(name) and (not kept or kept[-1] != name):
            kept.append(name)
    return tuple(kept)
