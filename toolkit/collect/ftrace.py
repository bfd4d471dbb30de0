# SPDX-License-Identifier: GPL-2.0-only
"""What happens in the guest's kernel, event by event: kprobes and tracepoints into ring buffers.

The buffers are taken in binary form, with the descriptions that decode them: text would
cost the guest tens of microseconds an event, and hides addresses.  Whatever is lost on
the way is counted, and whoever wants every event refuses a trace with losses.
"""

from __future__ import annotations

import gzip
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from toolkit import saved
from toolkit.collect import formats, frames, meminfo, snapshot
from toolkit.collect.frames import Frame
from toolkit.collect.snapshot import Snapshot
from toolkit.collect.trace import Trace, decode
from toolkit.deadline import Deadline
from toolkit.errors import CaptureError, CommandError, GuestError
from toolkit.rig.guest import Guest

logger = logging.getLogger(__name__)

SCHEMA = 1
TRACEFS = "/sys/kernel/tracing"
GROUP = "pageless"
MARK = "pageless:mark "

_INDEX = "recording.json"
_TAKE_PAGES = f"capture pages {TRACEFS}/per_cpu/cpu*/trace_pipe_raw"
# The status that says that the trace took no mark.
_NO_MARK = 75
_PAGES = re.compile(r"/per_cpu/cpu(\d+)/trace_pipe_raw$")


@dataclass(frozen=True)
class Probe:
    """A kprobe event on `symbol`, or on its return: `arguments` as the kernel's kprobetrace.rst has them.

    Without a `required` one nothing can be replayed; another may be inlined, and then is absent.
    """

    event: str
    symbol: str
    arguments: str = ""
    returns: bool = False
    required: bool = False

    @property
    def definition(self) -> str:
        # Returns of at most that many tasks at once; more would be missed, and are counted.
        kind = "r128" if self.returns else "p"
        return f"{kind}:{GROUP}/{self.event} {self.symbol} {self.arguments}".rstrip()


PROBES = (
    Probe("zs_create_pool", "zs_create_pool", "name=+0($arg1):string", required=True),
    Probe("zs_create_pool_return", "zs_create_pool", "pool=$retval:x64", returns=True, required=True),
    Probe("zs_destroy_pool", "zs_destroy_pool", "pool=$arg1:x64", required=True),
    Probe("zs_malloc", "zs_malloc", "pool=$arg1:x64 size=$arg2:u64", required=True),
    Probe("zs_malloc_return", "zs_malloc", "handle=$retval:x64", returns=True, required=True),
    Probe("zs_free", "zs_free", "pool=$arg1:x64 handle=$arg2:x64", required=True),
    Probe("zs_compact", "zs_compact", "pool=$arg1:x64", required=True),
    Probe("zs_compact_return", "zs_compact", "pages=$retval:u64", returns=True, required=True),
    # Once for each class.  Where the compiler kept it apart, zs_compact() may be inlined into the
    # shrinker (seen in 7.3.4 for x86_64), and then its own probe does not see those.
    Probe("zs_compact_class", "__zs_compact", "pool=$arg1:x64 class=$arg2:x64"),
    # What is only called while the lock is held that guards the class: in the order in which it was
    # taken, and with the zspage.  6.1 alone has isolate_zspage().
    Probe("obj_malloc", "obj_malloc", "pool=$arg1:x64 zspage=$arg2:x64 handle=$arg3:x64"),
    Probe("obj_free", "obj_free"),
    Probe("isolate_zspage", "isolate_zspage", "class=$arg1:x64 source=$arg2:u8"),
    Probe("zs_page_isolate", "zs_page_isolate", "page=$arg1:x64"),
    Probe("zs_page_migrate", "zs_page_migrate", "newpage=$arg1:x64 page=$arg2:x64"),
    Probe("zs_page_migrate_return", "zs_page_migrate", "error=$retval:s32", returns=True),
    Probe("zs_page_putback", "zs_page_putback", "page=$arg1:x64"),
    Probe("async_free_zspage", "async_free_zspage"),
    # What zram allocates meanwhile does not count for its mem_used_max.
    Probe("recompress_store", "recompress_store"),
    # The other users of movable pages, until 6.15 and to this day.
    Probe("z3fold_page_migrate", "z3fold_page_migrate", "newpage=$arg1:x64 page=$arg2:x64"),
    Probe("z3fold_page_migrate_return", "z3fold_page_migrate", "error=$retval:s32", returns=True),
    Probe("balloon_page_migrate", "balloon_page_migrate", "newpage=$arg1:x64 page=$arg2:x64"),
    Probe("balloon_page_migrate_return", "balloon_page_migrate", "error=$retval:s32", returns=True),
)

# Tracepoints; one that a kernel does not have is absent.  Those per page or per pageblock of
# the allocator and of compaction's scanners are left out for their volume.
TRACEPOINTS = (
    "compaction/mm_compaction_begin",
    "compaction/mm_compaction_end",
    "compaction/mm_compaction_isolate_migratepages",
    "compaction/mm_compaction_migratepages",
    "migrate/mm_migrate_pages",
)

# Sets tracing up; probes that an earlier recording left are removed first.  Stdin has a line "EVENT
# DEFINITION" for each probe; the events that this kernel does not have are printed.  (To look the symbols
# up in /proc/kallsyms instead takes seconds under TCG.)  Without overwriting, a full buffer keeps the
# beginning and counts what it drops.  The "counter" clock counts the events of all CPUs in one atomic
# variable, so that a cause comes before its effect; "global" promises that only while nobody contends for
# its lock (kernel/trace/trace_clock.c).
_SETUP = f"""\
cd {TRACEFS} && echo 0 >tracing_on || exit 1
if read -r left <kprobe_events; then echo 0 >events/enable && echo >kprobe_events || exit 1; fi
echo 0 >options/overwrite && echo counter >trace_clock && echo {{buffer_kib}} >buffer_size_kb || exit 1
while read -r event definition; do
    echo "$definition" >>kprobe_events && echo 1 >events/{GROUP}/$event/enable || echo $event
done
for event in {{tracepoints}}; do
    if [ -e events/$event ]; then echo 1 >events/$event/enable; else echo $event; fi
done
echo 1 >tracing_on
"""


@dataclass(frozen=True)
class Losses:
    """Events that happened and are not in the trace; true if there are any.

    `overrun`, `dropped` and `commit_overrun` are the ring buffers' own counts, `gaps` how
    often a page says that some before it are missing, `missed` hits by probe that never
    became an event.
    """

    overrun: int = 0
    dropped: int = 0
    commit_overrun: int = 0
    gaps: int = 0
    missed: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.overrun or self.dropped or self.commit_overrun or self.gaps or self.missed)

    def __str__(self) -> str:
        counts = {
            "overrun": self.overrun,
            "dropped": self.dropped,
            "commit overrun": self.commit_overrun,
            "gaps": self.gaps,
            **{f"missed by {probe}": count for probe, count in self.missed.items()},
        }
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"


@dataclass(frozen=True)
class _Index:
    probes: tuple[str, ...]
    absent: tuple[str, ...]
    buffer_kib_per_cpu: int
    schema: int = SCHEMA


@dataclass(frozen=True)
class Recording:
    """What was recorded: ring buffer pages by CPU, and tracefs' files as `files`.

    `absent` are the probes and tracepoints that this kernel does not have.
    """

    buffers: Mapping[int, bytes]
    files: Snapshot
    absent: tuple[str, ...]

    @classmethod
    def load(cls, directory: Path) -> Recording:
        """What a Recorder left in `directory`; StoreError if it did not end there."""
        index = saved.read(_Index, directory / _INDEX)
        files = Snapshot.load(directory / "files")
        buffers = {
            int(path.name.removeprefix("cpu").partition(".")[0]): gzip.decompress(path.read_bytes())
            for path in sorted(directory.glob("cpu*.pages.gz"))
        }
        return cls(buffers, files, index.absent)

    def trace(self) -> Trace:
        """Decode it; CaptureError if it is malformed."""
        try:
            formats.check_header(self._file("events/header_event"))
            page = formats.parse_page(self._file("events/header_page"))
            known = [formats.parse_event(self.files[path]) for path in self.files if path.endswith("/format")]
            return decode(self.buffers, page, {format.name: format for format in known})
        except ValueError as error:
            raise CaptureError("trace", str(error)) from error

    def losses(self, decoded: Trace) -> Losses:
        """What is missing in it, by the kernel's own counts."""
        stats = [parse_stats(text) for path, text in self.files.items() if path.endswith("/stats")]
        if not stats:
            raise CaptureError("trace", "no statistics of the ring buffers: nobody knows what was lost")
        return Losses(
            overrun=sum(cpu["overrun"] for cpu in stats),
            dropped=sum(cpu["dropped events"] for cpu in stats),
            commit_overrun=sum(cpu["commit overrun"] for cpu in stats),
            gaps=decoded.losses,
            missed=parse_missed(self._file("kprobe_profile")),
        )

    def _file(self, name: str) -> str:
        path = f"{TRACEFS}/{name}"
        if path not in self.files:
            raise CaptureError(path, "it was not recorded")
        return self.files[path]


class Recorder:
    """Records one guest from `start` to `stop` into `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._absent: tuple[str, ...] = ()
        self._buffer_kib = 0

    def start(self, guest: Guest, deadline: Deadline) -> None:
        """Set the probes and let the buffers fill.

        GuestError if the kernel cannot be traced, or lacks a function without which
        nothing can be replayed.
        """
        facts = guest.execute(f"cat {meminfo.PATH} && ls -d {TRACEFS}/per_cpu/cpu*", deadline=deadline).text
        memory, directory, cpus = facts.partition(TRACEFS)
        kib = meminfo.parse(memory)["MemTotal"]
        self._buffer_kib = buffer_kib_per_cpu(kib, (directory + cpus).count(TRACEFS))
        set_up = guest.execute(
            _SETUP.format(buffer_kib=self._buffer_kib, tracepoints=" ".join(TRACEPOINTS)),
            stdin="".join(f"{probe.event} {probe.definition}\n" for probe in PROBES).encode(),
            deadline=deadline,
        )
        self._absent = tuple(set_up.text.split())
        missing = [probe.event for probe in PROBES if probe.required and probe.event in self._absent]
        if missing:
            raise GuestError(
                f"the kernel cannot be traced: no probe for {', '.join(missing)}",
                hint="it needs ZSMALLOC=y, KALLSYMS=y and KPROBE_EVENTS=y",
                detail=set_up.stderr.decode("utf-8", "replace"),
            )
        if self._absent:
            logger.debug("not traced, the kernel does not have them: %s", ", ".join(self._absent))
        self.directory.mkdir(parents=True, exist_ok=True)

    def checkpoint(self, guest: Guest, name: str, deadline: Deadline) -> Snapshot:
        """Mark the trace, take the collectors' files, and drain the buffers, in one command.

        It may be taken while events keep coming, and loses none of them.
        GuestError if the trace took no mark, because its buffers were full.
        """
        mark = f"put {TRACEFS}/trace_marker || exit {_NO_MARK}"
        try:
            taken = guest.execute(
                f"{mark}; {snapshot.command()} && {_TAKE_PAGES}",
                stdin=f"{MARK}{name}".encode(),
                deadline=deadline,
            )
        except CommandError as error:
            if error.status != _NO_MARK:
                raise
            raise GuestError(
                f"the trace took no mark for {name}: its buffers are full, and events were lost",
                detail=error.detail,
                hint="let the workload do less between two checkpoints",
            ) from None
        pages, files = _apart(taken.stdout)
        self._keep(pages)
        return snapshot.of(files)

    def drain(self, guest: Guest, deadline: Deadline) -> None:
        """Take what the buffers hold, while events keep coming."""
        pages, _files = _apart(guest.execute(_TAKE_PAGES, deadline=deadline).stdout)
        self._keep(pages)

    def stop(self, guest: Guest, deadline: Deadline) -> Recording:
        """End it and fetch everything.

        The probes stay, and write nothing: to remove them takes the kernel a good while,
        and most guests end now.
        """
        names = [
            "per_cpu/cpu*/stats",
            "events/header_page",
            "events/header_event",
            # ftrace's own events are in no format of ours, but the marks are: "print".
            "events/ftrace/print/format",
            f"events/{GROUP}/*/format",
            *(f"events/{event}/format" for event in TRACEPOINTS),
            "saved_cmdlines",
            "kprobe_profile",
        ]
        globs = " ".join(f"'{TRACEFS}/{name}'" for name in names)
        fetched = guest.execute(
            f"echo 0 >{TRACEFS}/tracing_on && {_TAKE_PAGES} && capture files {globs}", deadline=deadline
        )
        pages, files = _apart(fetched.stdout)
        self._keep(pages)
        snapshot.of(files).save(self.directory / "files")
        probes = tuple(probe.event for probe in PROBES if probe.event not in self._absent)
        saved.write(self.directory / _INDEX, _Index(probes, self._absent, self._buffer_kib))
        return Recording.load(self.directory)

    def _keep(self, pages: Iterable[Frame]) -> None:
        """Append pages to the file of their CPU."""
        by_cpu: dict[int, list[bytes]] = {}
        for frame in pages:
            cpu = _PAGES.search(frame.path)
            if cpu is None or frame.error:
                raise CaptureError("trace", f"not a page: {frame.path} {frame.error}")
            by_cpu.setdefault(int(cpu[1]), []).append(frame.data)
        for number, data in by_cpu.items():
            with (self.directory / f"cpu{number}.pages.gz").open("ab") as file:
                # A file of several gzip members is one gzip file.
                file.write(gzip.compress(b"".join(data), compresslevel=1, mtime=0))


def _apart(stream: bytes) -> tuple[list[Frame], list[Frame]]:
    """What `capture` sent: the pages of the buffers, and all other files."""
    try:
        taken = frames.parse(stream)
    except ValueError as error:
        raise CaptureError("trace", str(error)) from error
    pages: list[Frame] = []
    files: list[Frame] = []
    for frame in taken:
        (pages if _PAGES.search(frame.path) else files).append(frame)
    return pages, files


def buffer_kib_per_cpu(memory_kib: int, cpus: int) -> int:
    """A sixteenth of the memory for all buffers, but no less than 1 MiB and no more than 64 MiB each.

    With 512 MiB and 2 CPUs that holds some 150,000 allocations with their frees on each.
    """
    return min(max(memory_kib // 16 // cpus, 1 << 10), 64 << 10)


def parse_stats(text: str) -> Mapping[str, int]:
    """per_cpu/cpuN/stats: whole numbers by name; its two times are left out."""
    counts = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(":")
        if value.strip().isdigit():
            counts[name] = int(value)
    for name in ("overrun", "dropped events", "commit overrun"):
        if name not in counts:
            raise CaptureError("trace statistics", f"{name!r} is missing")
    return counts


def parse_missed(text: str) -> Mapping[str, int]:
    """kprobe_profile: the probes that missed hits, and how many."""
    rows = [line.split() for line in text.splitlines()]
    if not rows or any(len(row) != 3 for row in rows):
        raise CaptureError("kprobe_profile", "no rows of a probe, its hits and its misses")
    return {probe: int(missed) for probe, _, missed in rows if int(missed)}
