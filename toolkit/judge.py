# SPDX-License-Identifier: GPL-2.0-only
"""From evidence to a verdict: what was seen against what the model, the floors and good health demand."""

from __future__ import annotations

import datetime
import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from toolkit import saved
from toolkit.collect import (
    health,
    meminfo,
    pagetypeinfo,
    shrinker,
    slabinfo,
    vmstat,
    zoneinfo,
    zram,
    zsmalloc,
)
from toolkit.collect.ftrace import Losses, Recording
from toolkit.collect.migrations import CALL, Migrations, migrations
from toolkit.collect.operations import Traced, marks, traced
from toolkit.collect.snapshot import Snapshot
from toolkit.collect.trace import Trace
from toolkit.errors import CaptureError, StoreError, TraceError
from toolkit.evidence import BASELINE, END, Ending, Evidence, Facts, Followed
from toolkit.inspection import inspection
from toolkit.inspection.inspection import Inspection
from toolkit.model.descriptors import Census
from toolkit.model.geometry import Geometry, geometry
from toolkit.model.ordered import Ordered, follow
from toolkit.model.pool import ClassRow
from toolkit.model.predict import Expectation, invariants, predict
from toolkit.model.replay import replay
from toolkit.rig.splats import Kind
from toolkit.verdict import Check, Status, Verdict
from toolkit.workload.memory import STAT_REFRESH

# The slab caches of zsmalloc: empty, or gone, when there is no pool.  6.12.117 has a pair for each
# pool, "zspage-zram0"; 6.1.192 has one for each by the same name, and 7.3.4 one for all.  A series may add
# one of its own.
POOL_SLABS = re.compile(r"(zspage|zs_\w+)(-.+)?")

# What only zram tells of its pools.
_OF_MM_STAT = frozenset(
    {"pages_peak", "pages_compacted", "compr_data_size", "huge_pages", "huge_pages_since"}
)

# How many differences a check spells out.
SHOWN = 5

# What a guest at rest takes more or less of at another time, for what nothing counts: stacks that
# are kept, buffers of its network, of which one packet can keep eight pages (SKB_FRAG_PAGE_ORDER).
# Up to 139 pages were seen in 170 runs, most of them less than 10.
_NOISE_PAGES = 256
# Allocated or freed between two looks: up to 500 pages were seen in 1900 runs, of most none.
_IN_PASSING_PAGES = 2000


@dataclass(frozen=True)
class Difference:
    """One expectation and what was seen instead; `pool` is its name."""

    expectation: Expectation
    pool: str
    seen: int | None

    def __str__(self) -> str:
        e = self.expectation
        where = f"{e.checkpoint}, {self.pool}" + (
            f", class {e.size_class}" if e.size_class is not None else ""
        )
        seen = "not there" if self.seen is None else str(self.seen)
        return f"{where}: {e.metric} expected {_span(e)}, seen {seen}"


@dataclass(frozen=True)
class Case:
    """The evidence of one cell, read lazily."""

    evidence: Evidence

    @cached_property
    def facts(self) -> Facts:
        return self.evidence.facts()

    @cached_property
    def geometry(self) -> Geometry:
        return geometry(self.facts.release, self.facts.page_size, self.facts.chain_size)

    @cached_property
    def _recorded(self) -> tuple[Trace, Losses]:
        recording = Recording.load(self.evidence.trace)
        decoded = recording.trace()
        return decoded, recording.losses(decoded)

    @property
    def trace(self) -> Trace:
        return self._recorded[0]

    @cached_property
    def traced(self) -> Traced:
        """What was done to zsmalloc."""
        return traced(self.trace)

    @cached_property
    def migrations(self) -> Migrations | None:
        """What was migrated; None if the kernel does not tell."""
        return migrations(self.trace)

    @cached_property
    def marks(self) -> Mapping[str, int]:
        """The place of each checkpoint in the trace."""
        return marks(self.trace)

    @property
    def losses(self) -> Losses:
        return self._recorded[1]

    def snapshot(self, checkpoint: str) -> Snapshot:
        return Snapshot.load(self.evidence.checkpoint(checkpoint))

    @cached_property
    def snapshots(self) -> Mapping[str, Snapshot]:
        return {name: self.snapshot(name) for name in self.facts.checkpoints}

    @cached_property
    def tables(self) -> Mapping[str, Mapping[str, zsmalloc.ClassTable]]:
        """The class table of every live pool, by checkpoint and the pool's name."""
        return {
            checkpoint: {
                zsmalloc.pool_of(path): table for path, table in zsmalloc.COLLECTOR.read_all(files).items()
            }
            for checkpoint, files in self.snapshots.items()
        }

    def mm_stat(self, checkpoint: str, pool: str) -> zram.MmStat | None:
        """None if the pool is not a zram device's."""
        path = f"/sys/block/{pool}/mm_stat"
        files = self.snapshots[checkpoint]
        return zram.MM_STAT.read(files, path) if path in files else None

    @cached_property
    def counters(self) -> Mapping[str, int]:
        """The workload's counters and how often each traced event was seen."""
        return {**self.traced.counts, **self.facts.counters}


def judge(
    evidence: Evidence, allowed: Iterable[health.Allowed], today: datetime.date
) -> tuple[Verdict, Mapping[str, int]]:
    """The verdict on a cell, and its counters.

    `allowed` are the splats that are known, until the day they expire.
    """
    case = Case(evidence)
    checks = [*_ending(case.facts), *_health(case, allowed, today), *case.facts.checks]
    counters: Mapping[str, int] = dict(case.facts.counters)
    if case.facts.ending is Ending.FINISHED:
        try:
            # One after the other, so that a trace that cannot be followed is told with what it lost.
            for examine in (
                _trace,
                _floors,
                _leaks,
                _invariants,
                _migration,
                _compaction,
                _model,
                _inspected,
                _oracles,
            ):
                checks += examine(case)
            counters = case.counters
        except (CaptureError, TraceError, StoreError) as error:
            checks.append(Check("evidence", Status.ERROR, error.message))
    checks += _core(case)
    return Verdict(tuple(checks)), counters


# Of what a program said that failed, the end.
_WORDS_LINES = 8


def _ending(facts: Facts) -> Iterator[Check]:
    status = {
        Ending.FINISHED: Status.PASS,
        Ending.FAILED: Status.FAIL,
        Ending.OOPS: Status.CRASH,
        Ending.HUNG: Status.CRASH,
        Ending.SKIPPED: Status.SKIP,
    }.get(facts.ending, Status.ERROR)
    summary = facts.trouble or "the workload came to its end"
    words = facts.detail.strip().splitlines()[-_WORDS_LINES:]
    seen = "\n".join([facts.ending.value, *words])
    yield Check("ending", status, summary, Ending.FINISHED.value, seen)


def _health(case: Case, allowed: Iterable[health.Allowed], today: datetime.date) -> Iterator[Check]:
    """The kernel printed nothing that a good one does not print."""
    text = case.evidence.console()
    if not text:
        if case.facts.ending is Ending.FINISHED:
            yield Check("health", Status.ERROR, "the console is empty: nothing was looked at")
        return
    found = health.examine(text, allowed, release=case.facts.release, today=today)
    because = "a good kernel prints none of these"
    for report in found.unexpected:
        status = Status.CRASH if report.kind.fatal or report.kind is Kind.HUNG else Status.FAIL
        yield Check("health", status, report.title, "nothing", report.text, because)
    for report in found.slow:
        summary = f"{report.title} (a busy host is the likelier cause)"
        yield Check("health", Status.ERROR, summary, "nothing", report.text, because)
    if not found.unexpected and not found.slow:
        known = f", {len(found.allowed)} known and allowed" if found.allowed else ""
        lines = len(text.splitlines())
        yield Check("health", Status.PASS, f"no complaint in {lines} lines of console{known}")


def _trace(case: Case) -> Iterator[Check]:
    """Nothing was lost: an incomplete trace proves nothing."""
    losses = case.losses
    if losses:
        yield Check("trace", Status.ERROR, f"events were lost: {losses}", "0 lost", str(losses))
        return
    events = sum(case.traced.counts.values())
    if events == 0:
        yield Check("trace", Status.ERROR, "the trace holds no event")
    else:
        yield Check("trace", Status.PASS, f"{events} events, none lost")


# Where nothing has to be locked to free a zspage, none is freed later.
_NOT_EVERYWHERE = frozenset({"async_free_zspage"})


def _floors(case: Case) -> Iterator[Check]:
    """The workload did what it is there for."""
    for counter, least in sorted(case.facts.floors.items()):
        if counter in _NOT_EVERYWHERE and counter not in case.counters:
            yield Check(f"floor/{counter}", Status.SKIP, "the kernel has no such function")
            continue
        seen = case.counters.get(counter, 0)
        yield Check(
            f"floor/{counter}",
            Status.PASS if seen >= least else Status.ERROR,
            f"{seen} times" if seen >= least else f"exercised nothing: {seen} times, at least {least} needed",
            f"at least {least}",
            str(seen),
            "a run that did less proves nothing",
        )


def _leaks(case: Case) -> Iterator[Check]:
    """At the end all is as it was before the workload."""
    pages = [
        vmstat.COLLECTOR.read(case.snapshots[checkpoint], vmstat.PATH)["nr_zspages"]
        for checkpoint in (BASELINE, END)
    ]
    yield _equal("leak/nr_zspages", pages[0], pages[1], "the workload's pools are gone")
    zones = [
        {
            zone.label: zone.nr_zspages
            for zone in zoneinfo.COLLECTOR.read(case.snapshots[checkpoint], zoneinfo.PATH)
        }
        for checkpoint in (BASELINE, END)
    ]
    yield _equal("leak/zones", zones[0], zones[1], "a page that moves is counted where it is")
    isolated = [
        {name: count for name, count in counters.items() if name.startswith("nr_isolated_")}
        for checkpoint in (BASELINE, END)
        for counters in (vmstat.COLLECTOR.read(case.snapshots[checkpoint], vmstat.PATH),)
    ]
    yield _equal("leak/isolated", isolated[0], isolated[1], "whoever isolates a page ends that")
    blocks = [_set_apart(case.snapshots[checkpoint]) for checkpoint in (BASELINE, END)]
    yield _equal(
        "leak/pageblocks", blocks[0], blocks[1], "a range that is isolated is what it was, afterwards"
    )
    yield _free(case.snapshots[END])
    pools = [len(case.tables[checkpoint]) for checkpoint in (BASELINE, END)]
    kept = case.facts.counters.get("pools_kept", 0)
    yield _equal("leak/pools", pools[0] + kept, pools[1], "whoever makes a pool destroys it")
    yield _sunk(case)
    yield _held(case)
    slabs = {
        checkpoint: {
            name: cache.num_objs
            for name, cache in slabinfo.COLLECTOR.read(files, slabinfo.PATH).items()
            if POOL_SLABS.fullmatch(name)
        }
        for checkpoint, files in case.snapshots.items()
    }
    if not any(sum(counts.values()) for counts in slabs.values()):
        yield Check("leak/slabs", Status.ERROR, "no checkpoint saw an object of zspage or zs_handle")
        return
    before, after = (sum(slabs[checkpoint].values()) for checkpoint in (BASELINE, END))
    yield _equal("leak/slabs", before, after, "without pools these caches are empty, once they were shrunk")


# Of types of pageblocks those of which the kernel has as many for ever, or none while nobody isolates memory.
_SET_APART = ("CMA", "Isolate")


def _set_apart(files: Mapping[str, str]) -> dict[str, int]:
    """Pageblocks that not everybody can use."""
    zones = pagetypeinfo.COLLECTOR.read(files, pagetypeinfo.PATH)
    return {kind: sum(zone.blocks.get(kind, 0) for zone in zones) for kind in _SET_APART}


def _free(files: Mapping[str, str]) -> Check:
    """Each zone counts as free what is on its lists, but for what came and went meanwhile."""
    listed = {
        (zone.node, zone.zone): {
            kind: sum(blocks << order for order, blocks in enumerate(free))
            for kind, free in zone.free.items()
        }
        for zone in pagetypeinfo.COLLECTOR.read(files, pagetypeinfo.PATH)
    }
    counted, most = [], 0
    for zone in zoneinfo.COLLECTOR.read(files, zoneinfo.PATH):
        lists = listed.get((zone.node, zone.name), {})
        for kind, count, pages in (
            ("free", zone.pages["free"], sum(lists.values())),
            ("free CMA", zone.stats.get("nr_free_cma", 0), lists.get("CMA", 0)),
        ):
            counted.append(f"{zone.label}: {count} {kind}, {pages} on its lists")
            most = max(most, abs(count - pages))
    return Check(
        "counters/free",
        Status.PASS if most <= _IN_PASSING_PAGES else Status.FAIL,
        f"at most {most} pages apart",
        f"at most {_IN_PASSING_PAGES} pages apart",
        "; ".join(counted),
        "what is put on a list of free pages is counted, and what is taken from it",
    )


def _sunk(case: Case) -> Check:
    """No counter of pages is below zero to stay; once may be a processor's share that came late."""
    told = vmstat.below_zero(case.evidence.console())
    sunk = [
        f"{name} was {', '.join(map(str, values[-SHOWN:]))}"
        for name, values in told.items()
        if len(values) > 1
    ]
    folded = sum(STAT_REFRESH in files for files in case.snapshots.values())
    if not folded and not sunk:
        return Check("counters", Status.SKIP, "the kernel did not fold its counters: nothing was looked at")
    looked = f"{folded} times that the kernel folded its counters"
    return _none_of("counters", sunk, looked, "nothing is taken from a counter that was not added")


def _held(case: Case) -> Check:
    """No page was lost: what is neither free nor counted for anything is as much as before."""
    before, after = (_uncounted(case.snapshots[name], case.facts.page_size) for name in (BASELINE, END))
    # What a workload knows to be kept for ever, and call stacks that the kernel keeps.
    lost = after - before - case.facts.counters.get("pages_kept", 0)
    summary = f"{before} pages are counted for nothing at first, {after} at the end: {lost} too many"
    return Check(
        "leak/pages",
        Status.PASS if lost <= _NOISE_PAGES else Status.FAIL,
        summary,
        f"at most {_NOISE_PAGES} pages more",
        str(lost),
        "what a workload took is free again, or is the page cache's, a process's or a slab's",
    )


def _uncounted(files: Mapping[str, str], page_size: int) -> int:
    """Pages that are neither free nor of any kind that the kernel counts, zspages among it."""
    zones = zoneinfo.COLLECTOR.read(files, zoneinfo.PATH)
    there = sum(zone.pages["managed"] - zone.pages["free"] - sum(zone.on_lists) for zone in zones)
    counters = vmstat.COLLECTOR.read(files, vmstat.PATH)
    kinds = ("nr_file_pages", "nr_anon_pages", "nr_slab_reclaimable", "nr_slab_unreclaimable",
             "nr_page_table_pages", "nr_zspages")  # fmt: skip
    memory = meminfo.COLLECTOR.read(files, meminfo.PATH)
    # In KiB: stacks, and what was taken out of use for good.
    kib = memory["KernelStack"] + memory.get("HardwareCorrupted", 0)
    return there - sum(counters[kind] for kind in kinds) - kib * 1024 // page_size


def _invariants(case: Case) -> Iterator[Check]:
    """What must hold of any pool at rest, whatever was done to it."""
    broken: list[str] = []
    classes: list[str] = []
    tables = 0
    for checkpoint, files in case.snapshots.items():
        total_pages = 0
        for pool, table in case.tables[checkpoint].items():
            tables += 1
            total_pages += table.pages_used
            rows = tuple(map(_row, table.rows))
            for violation in invariants(rows, case.geometry, at_rest=True):
                where = "" if violation.size_class is None else f", class {violation.size_class}"
                text = f"{checkpoint}, {pool}{where}: {violation.invariant}: {violation.seen}"
                (classes if violation.invariant == "classes" else broken).append(text)
            stat = case.mm_stat(checkpoint, pool)
            if stat is not None:
                broken += _zram_invariants(f"{checkpoint}, {pool}", table, stat, case, files)
            freeable = sum(row.freeable for row in rows)
            counted = shrinker.of_pool(files, pool)
            # Of pools with one name nobody says which is whose.
            if len(counted) == 1 and counted[0] != freeable:
                broken.append(f"{checkpoint}, {pool}: the shrinker counts {counted[0]} pages of {freeable}")
        seen = vmstat.COLLECTOR.read(files, vmstat.PATH)["nr_zspages"]
        if seen != total_pages:
            broken.append(f"{checkpoint}: nr_zspages is {seen}, all pools together have {total_pages} pages")
        zones = sum(zone.nr_zspages for zone in zoneinfo.COLLECTOR.read(files, zoneinfo.PATH))
        if zones != seen:
            broken.append(f"{checkpoint}: nr_zspages is {seen}, all zones together have {zones}")
    if not tables:
        yield Check("invariants", Status.ERROR, "no checkpoint saw a pool: nothing was looked at")
        return
    looked = f"{tables} class tables"
    yield _none_of(
        "model/classes", classes, looked, "size, objects and pages of each class follow from the release"
    )
    yield _none_of("invariants", broken, looked, "they hold of every pool at rest")


def _row(seen: zsmalloc.SizeClass) -> ClassRow:
    """A row as the model has them."""
    return ClassRow(
        index=seen.index,
        size=seen.size,
        fullness=tuple(seen.fullness.values()),
        obj_allocated=seen.obj_allocated,
        obj_used=seen.obj_used,
        pages_used=seen.pages_used,
        pages_per_zspage=seen.pages_per_zspage,
        freeable=seen.freeable,
    )


def _zram_invariants(
    where: str, table: zsmalloc.ClassTable, stat: zram.MmStat, case: Case, files: Mapping[str, str]
) -> Iterator[str]:
    pages = stat.mem_used_total // case.facts.page_size
    if pages != table.pages_used:
        yield f"{where}: mm_stat says {pages} pages, the class table {table.pages_used}"
    stored = stat.orig_data_size // case.facts.page_size
    pool = where.rpartition(" ")[2]
    backing = f"/sys/block/{pool}/bd_stat"
    on_disk = zram.BD_STAT.read(files, backing).bd_count if backing in files else 0
    on_disk //= case.facts.page_size // zram.BD_UNIT
    if stored - stat.same_pages - on_disk != table.obj_used:
        yield (
            f"{where}: {stored} pages stored, {stat.same_pages} same-filled, {on_disk} written back,"
            f" but {table.obj_used} objects"
        )


def _migration(case: Case) -> Iterator[Check]:
    """What the kernel counts as migrated is what was."""
    name = "migration/counted"
    calls = case.migrations
    if calls is None:
        yield Check(name, Status.SKIP, f"the kernel has no tracepoint {CALL}")
        return
    wrong = [
        f"migrate_pages() counted {calls.counted[call]} pages, drivers moved {calls.moved[call]} in that call"
        for call in calls.miscounted
    ]
    # A counter is read after its checkpoint's mark, and before the next one: less what had been counted
    # at those two, it is what it was before the trace began, the same for all checkpoints.
    at_marks = [calls.before(case.marks[checkpoint]) for checkpoint in case.facts.checkpoints]
    at_marks.append(calls.before(len(case.trace)))
    for counter in at_marks[0]:
        seen = [vmstat.COLLECTOR.read(files, vmstat.PATH)[counter] for files in case.snapshots.values()]
        least = max(value - later[counter] for value, later in zip(seen, at_marks[1:], strict=True))
        most = min(value - now[counter] for value, now in zip(seen, at_marks, strict=False))
        if least > most:
            wrong.append(f"{counter} went from {seen[0]} to {seen[-1]}, by its calls {at_marks[-1][counter]}")
    looked = f"{len(calls.order)} calls of migrate_pages(), {calls.counted.sum()} pages"
    yield _none_of(name, wrong, looked, "each page that moved is counted, and once")


# enum compact_result, include/linux/compaction.h, of 6.1 to 7.3.
_COMPACT_CONTENDED = 7


def _compaction(case: Case) -> Iterator[Check]:
    """Who compacts memory, and waits where he has to, goes on until his two scanners meet or there is enough.

    Contended is what he is when there is no free page to move to though the scanners did not meet, or when
    he is killed (compact_zone(), mm/compaction.c): the counter "compactions_killed" says how often that was.
    """
    if "mm_compaction_end" not in case.trace.formats:
        return
    ends = case.trace.events("mm_compaction_end")
    status = ends.numbers("status")[ends.numbers("sync") != 0]
    if not len(status):
        return
    contended = int((status == _COMPACT_CONTENDED).sum())
    killed = case.facts.counters.get("compactions_killed", 0)
    yield Check(
        "compaction/contended",
        Status.PASS if contended <= killed else Status.FAIL,
        f"{contended} of {len(status)}",
        f"at most {killed}",
        str(contended),
        "who waits where he has to is not kept from going on to the end",
    )


def _oracles(case: Case) -> Iterator[Check]:
    """Model, the tree's own code in user space and the guest tell the same; if not, who stands alone."""
    if not case.evidence.userspace.exists():
        return
    followed = saved.read(Followed, case.evidence.userspace)
    name = "oracles"
    if followed.unfit:
        yield Check(name, Status.SKIP, f"the trace could not be followed in user space: {followed.unfit}")
        return
    if followed.broke:
        because = "the guest did the same and lived"
        yield Check(
            name, Status.FAIL, f"the tree's own code breaks in user space: {followed.broke}", because=because
        )
        return
    told: dict[tuple[str, str], dict[str, tuple[ClassRow, ...]]] = defaultdict(dict)
    for pool in followed.pools:
        told[pool.checkpoint, case.traced.pools[pool.order]]["user space"] = pool.table
    for shot in replay(case.traced.operations, case.geometry).snapshots:
        for one in shot.pools:
            told[shot.checkpoint, case.traced.pools[one.order]]["the model"] = one.table
    for checkpoint, tables in case.tables.items():
        for pool_name, table in tables.items():
            told[checkpoint, pool_name]["the guest"] = tuple(map(_row, table.rows))
    differences = [
        f"{checkpoint}, {pool_name}: {_alone(tables)}"
        for (checkpoint, pool_name), tables in told.items()
        if len(tables) < len(_ORACLES) or len(set(tables.values())) > 1
    ]
    if not told:
        yield Check(name, Status.ERROR, "no pool at any checkpoint: nothing was compared")
        return
    yield _none_of(
        name, differences, f"{len(told)} class tables of the model, user space and the guest",
        "they follow the same operations by the same rules",
    )  # fmt: skip


_ORACLES = ("the model", "user space", "the guest")


def _alone(tables: Mapping[str, tuple[ClassRow, ...]]) -> str:
    """Which of them differs, and the first row in which it does."""
    missing = [name for name in _ORACLES if name not in tables]
    if missing:
        return f"no such pool for {' and '.join(missing)}"
    for name in _ORACLES:
        one, other = (tables[each] for each in _ORACLES if each != name)
        if one == other:
            row, seen = next(pair for pair in zip(one, tables[name], strict=False) if pair[0] != pair[1])
            return f"{name} differs from both others: class {row.index}: {seen}, they say {row}"
    return "each of the model, user space and the guest tells another class table"


def _inspected(case: Case) -> Iterator[Check]:
    """The guest's memory, if it was looked at, holds what zsmalloc must, and what the kernel says of it."""
    files = {name: case.evidence.inspection(name) for name in case.facts.checkpoints}
    looks = {name: saved.read(Inspection, path) for name, path in files.items() if path.exists()}
    if not looks:
        return
    if not any(pool.objects for look in looks.values() for pool in look.pools):
        yield Check("inspect", Status.SKIP, "no checkpoint of this workload leaves an object in a pool")
        return
    yield from inspection.checks("inspect", looks)
    differences, compared = [], 0
    for name, look in looks.items():
        tables = case.tables[name]
        if {pool.name for pool in look.pools} != set(tables):
            differences.append(f"{name}: pools {[pool.name for pool in look.pools]}, debugfs has {[*tables]}")
            continue
        for pool in look.pools:
            compared += 1
            differences += [f"{name}, {pool.name}: {text}" for text in _disagreements(case, name, pool)]
    yield _none_of(
        "inspect/agrees", differences, f"{compared} class tables and mm_stat",
        "what is counted in memory is what the kernel says in debugfs and mm_stat",
    )  # fmt: skip


def _disagreements(case: Case, checkpoint: str, pool: inspection.PoolSeen) -> Iterator[str]:
    seen = {row.index: row for row in pool.rows}
    groups = case.geometry.column_groups
    for row in case.tables[checkpoint][pool.name].rows:
        held = seen.get(row.index)
        told = (row.size, *row.fullness.values(), row.obj_allocated, row.obj_used, row.pages_used)
        found = held and (
            held.size,
            *(held.fullness[group] for group in groups),
            held.obj_allocated,
            held.obj_used,
            held.pages_used,
        )
        if told != found:
            yield f"class {row.index}: debugfs says {told}, memory holds {found}"
    stat = case.mm_stat(checkpoint, pool.name)
    if stat is not None:
        pages = (stat.mem_used_total // case.facts.page_size, stat.pages_compacted)
        held_pages = (pool.pages, pool.pages_compacted)
        if pages != held_pages:
            yield f"mm_stat says {pages} pages and compacted ones, memory holds {held_pages}"


def _core(case: Case) -> Iterator[Check]:
    """What a guest that ended badly had in its memory."""
    if not case.evidence.core_inspection.exists():
        return
    look = saved.read(Inspection, case.evidence.core_inspection)
    if any(pool.objects for pool in look.pools):
        yield from inspection.checks("core", {"its core": look})
    else:
        yield Check("core", Status.SKIP, "no pool in its memory holds an object")


def _model(case: Case) -> Iterator[Check]:
    """The guest's tables are those that the reference model predicts from the trace."""
    ordered = None if case.traced.steps is None else follow(case.traced.steps, case.geometry)
    predicted = predict(
        case.traced.operations,
        case.geometry,
        single_threaded=case.facts.single_threaded,
        ordered=ordered,
        recompressed=bool(case.traced.counts.get("recompress_store")),
    )
    # What nobody can tell is not counted as compared.
    expectations = [
        expectation
        for expectation in predicted
        if expectation.metric not in _OF_MM_STAT or case.traced.pools[expectation.pool].startswith("zram")
    ]
    by_metric: dict[str, list[Expectation]] = defaultdict(list)
    for expectation in expectations:
        by_metric[expectation.metric].append(expectation)
    if not expectations:
        yield Check("model", Status.ERROR, "the trace shows no pool at any checkpoint: nothing was compared")
        return
    yield _step_by_step(ordered)
    seen_pools = {(name, pool) for name in case.snapshots for pool in case.tables[name]}
    known_pools = {(e.checkpoint, case.traced.pools[e.pool]) for e in expectations}
    yield _equal(
        "model/pools", sorted(known_pools), sorted(seen_pools), "pools made and not destroyed in the trace"
    )
    for metric, wanted in sorted(by_metric.items()):
        differences = []
        for expectation in wanted:
            pool = case.traced.pools[expectation.pool]
            seen = _seen(case, expectation, pool)
            if seen is None or not expectation.low <= seen <= expectation.high:
                differences.append(Difference(expectation, pool, seen))
        exact = sum(e.low == e.high for e in wanted)
        looked = f"{len(wanted)} values, {exact} of them exact"
        first = differences[0] if differences else None
        yield Check(
            f"model/{metric}",
            Status.FAIL if first else Status.PASS,
            _summary(differences, looked),
            _span(first.expectation) if first else "",
            str(first.seen) if first else "",
            first.expectation.because if first else "",
        )


def _step_by_step(ordered: Ordered | None) -> Check:
    """The first step, if any, after which the guest and the model differ."""
    name = "model/steps"
    if ordered is None:
        return Check(name, Status.SKIP, "the compiler inlined what is done under zsmalloc's locks")
    if ordered.unclear:
        return Check(name, Status.SKIP, ordered.unclear)
    if ordered.difference:
        summary = f"the first that differs is {ordered.difference}"
        return Check(name, Status.FAIL, summary, because="all before it are the model's, in the lock's order")
    return Check(name, Status.PASS, f"{ordered.steps} steps under the lock: each as the model takes it")


def _seen(case: Case, expectation: Expectation, pool: str) -> int | None:
    """What was observed of an expectation's quantity, None if it is not there."""
    table = case.tables[expectation.checkpoint].get(pool)
    if table is None:
        return None
    metric = expectation.metric
    if expectation.size_class is not None:
        row = next((row for row in table.rows if row.size == expectation.size_class), None)
        if row is None:
            return None
        return row.fullness.get(metric, getattr(row, metric, None))
    stat = case.mm_stat(expectation.checkpoint, pool)
    page_size = case.facts.page_size
    match metric:
        case "objects":
            return table.obj_used
        case "pages":
            return table.pages_used
        case "pages_peak":
            return None if stat is None else stat.mem_used_max // page_size
        case _:
            return None if stat is None else getattr(stat, metric)


def census(case: Case) -> tuple[str, Census] | None:
    """What the pools held when most was stored, with that checkpoint; None if nothing ever was."""
    most: tuple[str, Census] | None = None
    for name, files in case.snapshots.items():
        stats = [case.mm_stat(name, pool) for pool in case.tables[name]]
        stored = sum(stat.compr_data_size for stat in stats if stat is not None)
        rows = [row for table in case.tables[name].values() for row in table.rows]
        if not stored or (most is not None and stored <= most[1].stored):
            continue
        caches = slabinfo.COLLECTOR.read(files, slabinfo.PATH)
        most = (
            name,
            Census(
                stored=stored,
                pages=sum(row.pages_used for row in rows),
                zspages=sum(row.pages_used // row.pages_per_zspage for row in rows),
                objects=sum(row.obj_used for row in rows),
                zspage_slot=_slot(caches, "zspage", case.facts.page_size),
                handle_slot=_slot(caches, "zs_handle", case.facts.page_size),
            ),
        )
    return most


def _slot(caches: Mapping[str, slabinfo.Cache], name: str, page_size: int) -> float:
    """The bytes of memory that one object takes of the caches of that name, their slack included."""
    for cache_name, cache in caches.items():
        if cache_name == name or cache_name.startswith(f"{name}-"):
            return cache.pagesperslab * page_size / cache.objperslab
    raise CaptureError(slabinfo.PATH, f"no slab cache {name}", hint="is it merged? boot with slab_nomerge")


def across(cases: Iterable[tuple[str, str, str, Case]]) -> tuple[Check, ...]:
    """Checks between cells that must agree.

    Each is (twin key, series, arch, case): cells of one key differ in series and
    architecture only.  Single-threaded ones must show the same class tables.
    """
    checks: list[Check] = []
    groups: dict[str, list[tuple[str, str, Case]]] = defaultdict(list)
    for key, series, arch, case in cases:
        if case.facts.single_threaded and case.facts.ending is Ending.FINISHED:
            groups[f"{key} {case.facts.page_size}"].append((series, arch, case))
    for key, members in sorted(groups.items()):
        for name, same, differs in (("cross-arch", 0, 1), ("baseline", 1, 0)):
            for one, other in itertools.combinations(members, 2):
                if one[same] == other[same] and one[differs] != other[differs]:
                    checks.append(_twins(f"{name}/{key}", one, other))
    return tuple(checks)


def _twins(name: str, one: tuple[str, str, Case], other: tuple[str, str, Case]) -> Check:
    labels = [" ".join(member[:2]) for member in (one, other)]
    differences = []
    compared = 0
    for checkpoint in one[2].facts.checkpoints:
        left, right = one[2].tables[checkpoint], other[2].tables[checkpoint]
        compared += len(left)
        if left != right:
            differences.append(f"class tables at {checkpoint} differ between {labels[0]} and {labels[1]}")
    if not compared:
        return Check(name, Status.ERROR, "no class table to compare")
    return _none_of(name, differences, f"{compared} class tables of {labels[0]} and {labels[1]}",
                    "the same seed and page size do the same to zsmalloc")  # fmt: skip


def _equal(name: str, expected: object, seen: object, because: str) -> Check:
    same = expected == seen
    summary = f"{seen}" if same else f"expected {expected}, seen {seen}"
    return Check(name, Status.PASS if same else Status.FAIL, summary, str(expected), str(seen), because)


def _none_of(name: str, found: list[str], looked: str, because: str) -> Check:
    status = Status.FAIL if found else Status.PASS
    return Check(name, status, _summary(found, looked), "none" if found else "", str(len(found)), because)


def _summary(found: Iterable[object], looked: str) -> str:
    texts = [str(one) for one in found]
    if not texts:
        return f"{looked}: all as expected"
    more = f" (and {len(texts) - SHOWN} more)" if len(texts) > SHOWN else ""
    return "; ".join(texts[:SHOWN]) + more


def _span(expectation: Expectation) -> str:
    low, high = expectation.low, expectation.high
    return str(low) if low == high else f"{low} to {high}"
