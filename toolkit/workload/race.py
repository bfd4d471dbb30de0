# SPDX-License-Identifier: GPL-2.0-only
"""Choreographed races: hold one processor at an instruction, let the other do that, let go.

::

    @race.scene(floors={"holds": 1, "zs_page_migrate": 1})
    def exercise(bench: Bench) -> None:
        \"\"\"Free a zspage while one of its pages is being moved.\"\"\"
        with race.stage(bench) as stage, stage.disk("mixed") as disk:
            page = stage.page_array().physical(stage.moved_to())
            with stage.held(at("zs_page_migrate"), by=race.soft_offline(page)):
                disk.discard()
            stage.finish()
            disk.verify()

The kernel under test is not touched: QEMU's gdbstub stops the processors, and resumes only
those that are not held.  One processor, HELD, runs nothing but what a race starts there; all
else is moved to the other, FREE, which answers by ssh while the first is held.  A held
processor serves no interrupt and ends no grace period of RCU, so a hold is short and the
other side does nothing that waits for either.

A place that was never reached is an UnreachedError: such a race exercised nothing.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import re
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol, runtime_checkable

from toolkit.errors import HostError, UnreachedError
from toolkit.kernel.internals import Internals
from toolkit.kernel.symbols import Place, Symbols
from toolkit.rig.gdb import Gone, Stub, attached
from toolkit.rig.guest import Output
from toolkit.rig.qemu_guest import QemuGuest
from toolkit.workload import Bench, Workload, memory, workload, zram
from toolkit.workload.programs import page_bytes, run
from toolkit.workload.zram import ZramDevice

FREE, HELD = 0, 1

# Isolates and moves every movable page that it finds, in the caller's own context.
COMPACT = f"echo 1 >{memory.COMPACT}"

# How much memory is scattered, so that half of it takes all that compaction can move in a guest at
# rest, some 30 MiB.
_SCATTERED_MIB = 128


# Lines of /proc/vmstat.
_ISOLATED = ("nr_isolated_anon", "nr_isolated_file")

# Of struct page: what is before it has one word, and one, five and half of one (include/linux/mm_types.h).
_LRU_AT = 8
_REFCOUNT_AT = 52


def _looks_at(frame: int) -> str:
    """The command that reads the flags of a page frame."""
    return f"dd if=/proc/kpageflags bs=8 skip={frame} count=1 2>/dev/null"


def soft_offline(physical: int) -> str:
    """The command that takes the page at a physical address out of use, which moves it and no other."""
    return f"echo {physical:#x} >/sys/devices/system/memory/soft_offline_page"


# How often to look whether a command has ended while its processor is waited for.
_LOOK_S = 0.05
# A place that a command comes to, it comes to within this on a busy host.
_REACH_S = 60.0
# The same while another is held: later, the kernel complains of a processor that stands still.
_REACH_HOLDING_S = 15.0
# Who waits in a loop for a lock or another processor comes by with the same in all registers, again and
# again; any other loop counts, or goes through memory.
_SPIN_TURNS = 16
# So many turns of the longest loop, with lockdep's and KASAN's looks at what it does, and more.
_SPIN_STEPS = 2_000
# How long somebody may take before one looks whether he spins.
_SPINNING_S = 2.0

# All tasks that can be moved, all interrupts and the work of unbound queues go to one processor.
# RCU is not to complain of the other, which stands still for as long as a busy host needs.
_CLEAR = f"""\
mask={1 << FREE:x}
for task in /proc/[0-9]*; do taskset -p $mask ${{task##*/}}; done >/dev/null 2>&1
for file in /proc/irq/*/smp_affinity /proc/irq/default_smp_affinity \\
            /sys/devices/virtual/workqueue/cpumask; do
    [ ! -e $file ] || echo $mask >$file
done 2>/dev/null
echo 1 >/sys/module/rcupdate/parameters/rcu_cpu_stall_suppress
"""


def at(function: str, offset: int = 0, *, file: str = "", line: str | tuple[str, ...] = ()) -> Place:
    """A function's first instruction, or that many bytes further, or where a line of its source begins.

    `line` is a part of the line's text, `file` the source it is in: at("isolate_movable_page",
    file="mm/migrate.c", line="trylock_page(page)").  Of several texts, for kernels that differ,
    the first that is there counts.
    """
    return Place(function, offset, file, (line,) if isinstance(line, str) else line)


# Where a processor comes that has nothing left to do.
IDLE = at("default_idle_call")
# What a pfn scanner isolates a movable page with, and where it looks, with the lock, whether the
# page still is what it was: as it is in 6.1, and in each of the series.
ISOLATE = "isolate_movable_page"
LOOKING = at(
    ISOLATE, file="mm/migrate.c", line=("!PageMovable(page)", "!= owner", "page_folio(page) != folio")
)


def scene(
    *,
    floors: Mapping[str, int],
    needs: Sequence[str] = (),
    before: tuple[int, int] | None = None,
    machine: str = "default",
) -> Callable[[Callable[[Bench], None]], Workload]:
    """Declare a race: a workload, with what all of them have in common.

    `before` is the first release that has not the places it is about.
    """
    return workload(
        suites=["races", "full"],
        deadline_s=240,
        single_threaded=False,
        needs=["ZRAM", "COMPACTION", "PROC_PAGE_MONITOR", *needs],
        floors=floors,
        before=before,
        machine=machine,
    )


def free_while_moved(bench: Bench, mix: str) -> None:
    """Free all that a disk holds, filled with such a mix, while a page of it is being moved."""
    with stage(bench) as on, on.disk(mix) as disk:
        page = on.page_array().physical(on.moved_to())
        with on.held(at("zs_page_migrate"), by=soft_offline(page)):
            disk.discard()
        on.finish()
        disk.check_sound()


@runtime_checkable
class Choreographed(Protocol):
    """What a race needs of a bench beyond what others do."""

    @property
    def guest(self) -> QemuGuest: ...
    @property
    def internals(self) -> Internals: ...


@dataclass
class Held:
    """A processor that stands at a place, if it came there: see Stage.held."""

    stage: Stage
    cpu: int
    command: concurrent.futures.Future[Output]
    reached: bool = False

    def on_to(self, place: Place) -> None:
        """Let it go on to another place, and hold it there; UnreachedError if it never comes there."""
        if not self.comes_to(place):
            self.stage.never(self, place)

    def comes_to(self, place: Place, *, within_s: float = _REACH_S) -> bool:
        """Let it go on, and hold it at another place; whether it came there, in time and by its command."""
        self.stage.arrive(self, place, within_s=within_s)
        return self.reached

    def until_idle(self) -> None:
        """Let it go on until it has nothing left to do, or waits in a loop; it is not held then.

        In a loop it waits for the processor that is held: to destroy a cache of SLUB with KASAN,
        all of them are interrupted (mm/kasan/quarantine.c, kasan_quarantine_remove_cache()).
        """
        self.spins_before(IDLE)

    def waits(self, place: Place) -> None:
        """Let it go on, and hold it at a place that it comes to only if it has to wait.

        `reached` tells, and the counter "waits".  If not, its command has come to its end.
        """
        self.stage.bench.count("waits", int(self.comes_to(place)))

    def has_to_wait(self, place: Place) -> bool:
        """Let it go on to where it waits; whether it does, for whoever gave up becomes idle as well."""
        if not self.comes_to(place):
            return False
        return not concurrent.futures.wait([self.command], timeout=_SPINNING_S).done

    def argument(self, number: int) -> int:
        """An argument, counted from 0, of the function at whose first instruction it stands."""
        with self.stage.paused() as stub:
            return stub.register(self.cpu, self.stage.registers.arguments[number])

    def listed(self) -> tuple[int, ...]:
        """The pages, by their descriptions, on the list that the function is given first at whose first
        instruction it stands."""
        with self.stage.paused() as stub:
            head = stub.register(self.cpu, self.stage.registers.arguments[0])
            found, entry = [], head
            while (entry := int.from_bytes(stub.memory(self.cpu, entry, 8), "little")) != head:
                found.append(entry - _LRU_AT)
        return tuple(found)

    def result(self) -> int:
        """Let it go on from a function's first instruction to its return; returns what the function does."""
        back = self._return_address()
        self.stage.arrive_at(self, (back,))
        if not self.reached:
            raise UnreachedError("a function did not return")
        with self.stage.paused() as stub:
            return stub.register(self.cpu, self.stage.registers.result)

    def physical(self, address: int) -> int:
        """Where in the guest's memory a virtual address lies, as this processor sees it."""
        told = str(
            self.stage.guest.qmp.execute(
                "human-monitor-command", command_line=f"gva2gpa {address:#x}", cpu_index=self.cpu
            )
        )
        found = re.fullmatch(r"gpa: (0x[0-9a-f]+)\s*", told)
        if found is None:
            raise UnreachedError(f"nothing is mapped at {address:#x}: {told.strip()}")
        return int(found[1], 16)

    def overwrite(self, address: int, data: bytes) -> None:
        """Do what another might, who writes to memory that is anybody's."""
        with self.stage.paused() as stub:
            stub.set_memory(self.cpu, address, data)

    def let_go(self) -> None:
        """Let it run on; what it was started with goes on."""
        self.stage.let_go(self.cpu)

    def fail(self, errno: int) -> None:
        """Return -errno at once from the function at whose first instruction it stands."""
        registers, cpu = self.stage.registers, self.cpu
        back = self._return_address()
        with self.stage.paused() as stub:
            if registers.link is None:
                stub.set_register(cpu, registers.sp, stub.register(cpu, registers.sp) + 8)
            stub.set_register(cpu, registers.result, -errno)
            stub.set_register(cpu, registers.pc, back)

    def _return_address(self) -> int:
        registers = self.stage.registers
        with self.stage.paused() as stub:
            if registers.link is not None:
                return stub.register(self.cpu, registers.link)
            top = stub.register(self.cpu, registers.sp)
            return int.from_bytes(stub.memory(self.cpu, top, 8), "little")

    def spins_before(self, place: Place) -> bool:
        """Let it go on until it waits in a loop for what another holds (true), or reaches the place.

        It is not stepped there, for lockdep may look through all that it knows before a lock is waited for.
        UnreachedError if it does neither in time.
        """
        deadline = self.stage.bench.deadline.at_most(_REACH_HOLDING_S)
        while not deadline.passed:
            if self.comes_to(place, within_s=_SPINNING_S):
                return False
            if self.stage.spins(self.cpu, _SPIN_STEPS):
                return True
        raise UnreachedError(f"a processor neither waited for a lock nor came to {place}")


@dataclass(frozen=True)
class PageArray:
    """The kernel's array of struct pages: of one at `address` the page is at `physical`, in bytes."""

    address: int
    stride: int
    frame: int
    page: int

    def physical(self, address: int) -> int:
        """Where the page is that the struct page at that address describes."""
        return self.frame + (address - self.address) // self.stride * self.page


@dataclass
class Stage:
    """Two processors, one of which can be held: made by `stage`."""

    bench: Bench
    guest: QemuGuest
    symbols: Symbols
    stub: Stub
    pool: concurrent.futures.ThreadPoolExecutor
    commands: list[concurrent.futures.Future[Output]] = field(default_factory=list)
    standing: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.registers = self.guest.arch.registers

    @contextlib.contextmanager
    def held(self, place: Place, *, by: str, cpu: int = HELD) -> Iterator[Held]:
        """Start a command on a processor and hold that at the place it comes to, as long as the context.

        UnreachedError if it never comes there.  `finish` waits for the command's end.
        """
        held = Held(self, cpu, concurrent.futures.Future())
        try:
            self.arrive(held, place, by)
            if not held.reached:
                self.never(held, place)
            yield held
        finally:
            # QEMU may be gone: who waits for the command is told why.
            with contextlib.suppress(Gone):
                self.let_go(cpu)

    @contextlib.contextmanager
    def scanning(self) -> Iterator[tuple[Held, int]]:
        """A scanner that has a reference to a page and not yet its lock, as long as the context.

        Also gives the address of the page's description.
        """
        with self.held(at(ISOLATE), by=COMPACT) as scanner:
            page = scanner.argument(0)
            scanner.on_to(self.locking)
            yield scanner, page

    @contextlib.contextmanager
    def found_by_two(self) -> Iterator[tuple[Held, Held]]:
        """A scanner that has not the lock yet of a page, and who has isolated that and goes to move it."""
        pages = self.page_array()
        with (
            self.scanning() as (scanner, page),
            self.held(at("zs_page_isolate"), by=soft_offline(pages.physical(page)), cpu=FREE) as mover,
        ):
            self.must_be_the_same(page, mover.argument(0))
            mover.on_to(at("migrate_pages"))
            yield scanner, mover

    def isolated(self, held: Held) -> frozenset[int]:
        """Let a processor go on; the addresses of the pages that it isolates until its command ends."""
        seen: set[int] = set()
        begin = at("zs_page_isolate")
        addresses = self.symbols.addresses(begin)

        def look(cpu: int) -> bool:
            seen.add(self.stub.register(cpu, self.registers.arguments[0]))
            return False

        self.standing.discard(held.cpu)
        with self._watched(addresses):
            self._wait(addresses, held.cpu, held.command, look)
        return frozenset(seen)

    def check_again(self, page: int, seen: Collection[int]) -> None:
        """Check that a page that was isolated before, by its description, is among those seen isolated."""
        self.bench.check(
            "again",
            page in seen,
            expected=f"the page at {page:#x} among those isolated",
            seen=f"{len(seen)} others",
            because="a page that was put back can be isolated again",
        )

    def check_none_isolated(self) -> None:
        """Check that no page is isolated any more: whoever isolated one has come to an end."""
        left = memory.counters(self.guest, *_ISOLATED)
        self.bench.check(
            "isolated",
            not any(left.values()),
            expected="none",
            seen=str(left),
            because="what is not moved is put back, and what nobody uses any more is free",
        )

    def check_released(self, pages: Sequence[int]) -> None:
        """Check that of pages that were freed, by their descriptions, most have no reference of nobody's.

        A page that somebody else got since may say as little of whose it is.
        """
        array = self.page_array()
        frames = [array.physical(page) // array.page for page in pages]
        with self.held(at("pfn_to_online_page"), by=_looks_at(frames[0])) as reader, self.paused() as stub:
            counts = [
                int.from_bytes(stub.memory(reader.cpu, page + _REFCOUNT_AT, 4), "little") for page in pages
            ]
        self.finish()
        of_nobody = [
            hex(frame)
            for frame, count in zip(frames, counts, strict=True)
            if count and not any(self.guest.execute(_looks_at(frame), deadline=self.bench.deadline).stdout)
        ]
        self.bench.check(
            "released",
            2 * len(of_nobody) <= len(pages),
            expected=f"{len(pages) // 2} at the most that have a reference and no flag",
            seen=of_nobody,
            because="whoever does not isolate a page that it found gives its reference back",
        )

    def moved_to(self) -> int:
        """Compact memory; the address of the description of a page that a zspage's page was moved to.

        Whoever is to be held while a page is moved moves it alone: since 6.3 compaction first unmaps a
        batch of pages (migrate_pages_batch()), and who answers by ssh may wait for one of them.
        """
        with self.held(at("zs_page_migrate"), by=COMPACT) as mover:
            page = mover.argument(0)
        self.finish()
        return page

    def page_array(self) -> PageArray:
        """Where the kernel keeps its page frames' descriptions, as it answers for two neighbours."""
        size = page_bytes(self.guest)
        table = self.guest.read("/proc/iomem").decode()
        found = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) : System RAM$", table, re.MULTILINE)
        ranges = [(int(start, 16), int(end, 16)) for start, end in found]
        largest = max(ranges, key=lambda one: one[1] - one[0])
        frame = -(-largest[0] // size)
        first, second = self._description(frame), self._description(frame + 1)
        return PageArray(first, second - first, frame * size, size)

    def _description(self, frame: int) -> int:
        """The address of the struct page of a page frame, by its number."""
        with self.held(at("pfn_to_online_page"), by=_looks_at(frame)) as reader:
            self.must_be_the_same(frame, reader.argument(0))
            found = reader.result()
        self.finish()
        return found

    def must_be_the_same(self, one: int, other: int) -> None:
        """Both mean the same page; UnreachedError if not, for then two did not meet."""
        if one != other:
            raise UnreachedError(f"another page was met: {other:#x}, not {one:#x}")

    def never(self, held: Held, place: Place) -> NoReturn:
        """UnreachedError, or why the command failed."""
        if held.command.done():
            held.command.result()
        raise UnreachedError(f"no processor came to {place}")

    @property
    def locking(self) -> Place:
        """Where a scanner has a reference to a page, and goes to take the lock it knows to be the page's."""
        # Of an owner that has a lock of its own, a line in which it is taken begins again behind that.
        own = at("zs_owner_trylock")
        return own if self.symbols.has(own.function) else at(ISOLATE, file="mm/migrate.c", line="trylock")

    @property
    def waiting(self) -> Place:
        """Where a mover comes that waits for the lock of a page's owner, or of the page if it has none."""
        own = at("zs_owner_lock")
        return own if self.symbols.has(own.function) else IDLE

    @property
    def unregistering(self) -> Place:
        """Where a shrinker begins to go."""
        return at("shrinker_free" if self.symbols.has("shrinker_free") else "unregister_shrinker")

    def meanwhile(self, command: str) -> None:
        """Run a command on the free processor until it ends or, there, somebody spins on a lock that is held.

        In that case nobody there answers any more until another is let go; `finish` waits for its end.
        """
        begun = self._begin(command, FREE)
        while not concurrent.futures.wait([begun], timeout=_SPINNING_S).done:
            if self.spins(FREE, _SPIN_STEPS):
                return

    def spins(self, cpu: int, steps: int) -> bool:
        """Step on, and see whether it waits in a loop."""
        seen: Counter[bytes] = Counter()
        with self.paused() as stub:
            for _ in range(steps):
                stub.step(cpu)
                registers = stub.registers(cpu)
                seen[registers] += 1
                if seen[registers] == _SPIN_TURNS:
                    return True
        return False

    def finish(self) -> None:
        """Wait until all commands came to their end; CommandError if one failed."""
        while self.commands:
            self.commands[0].result()
            self.commands.pop(0)

    @contextlib.contextmanager
    def paused(self) -> Iterator[Stub]:
        """The stub, while no processor runs."""
        if self.stub.running:
            self.stub.interrupt()
        try:
            yield self.stub
        finally:
            self._resume()

    @contextlib.contextmanager
    def disk(self, mix: str, slots: int = 1024) -> Iterator[Disk]:
        """A new zram disk with known content, removed at the end, when no page of it may be left.

        Its zspages lie where compaction finds them.
        """
        before = zram.nr_zspages(self.guest)
        with (
            zram.disk(self.guest, slots * page_bytes(self.guest)) as device,
            memory.scattered(self.bench, _SCATTERED_MIB),
        ):
            disk = Disk(self.bench, device, slots, mix)
            disk.create()
            disk.write()
            yield disk
        zram.check_residue(self.bench, "removed", before)

    @contextlib.contextmanager
    def alike(self, *, spanning: bool, slots: int = 96, backing: str = "") -> Iterator[Alike]:
        """A new zram disk with pages that compress to one size, and so are of one class.

        The objects are of a class whose zspages have several pages, with some that span two,
        or of one where four fit into the one page.  Two of three are freed again: compaction
        of the pool has to do with all zspages.  `backing` is a block device to write back to.
        """
        page = page_bytes(self.guest)
        random = self.bench.random
        # What does not compress; the compressor's own bytes and zsmalloc's come on top.
        stored = page * 3 // 8 if spanning else page // 4 - page // 64
        content = [random.randbytes(stored).ljust(page, b"\0") for _ in range(slots)]
        before = zram.nr_zspages(self.guest)
        with zram.disk(self.guest, slots * page, backing=backing) as device:
            alike = Alike(self.bench, device, page, content)
            self.guest.write(alike.file, b"".join(content))
            alike.write(0, slots)
            alike.thin_out()
            yield alike
        zram.check_residue(self.bench, "removed", before)

    def let_go(self, cpu: int) -> None:
        """Let a processor run on if it is held."""
        if cpu in self.standing:
            with self.paused():
                self.standing.discard(cpu)

    def arrive(self, held: Held, place: Place, command: str = "", *, within_s: float = _REACH_S) -> None:
        """Start `command`, if any, let the processor run, and hold it if it comes to the place in time."""
        addresses = self.symbols.addresses(place)
        self.arrive_at(held, addresses, command, outlasting=place == IDLE, within_s=within_s)
        if held.reached and place == IDLE:
            self.let_go(held.cpu)

    def arrive_at(
        self,
        held: Held,
        addresses: tuple[int, ...],
        command: str = "",
        *,
        outlasting: bool = False,
        within_s: float = _REACH_S,
    ) -> None:
        """The same for addresses, which it may come to when its command has ended if `outlasting`."""
        if held.cpu in self.standing:
            with self.paused() as stub:
                # It may be to come there once more.
                if stub.register(held.cpu, self.registers.pc) in addresses:
                    stub.step(held.cpu)
        self.standing.discard(held.cpu)
        with self._watched(addresses):
            if command:
                held.command = self._begin(command, held.cpu)
            until = concurrent.futures.Future[Output]() if outlasting else held.command
            held.reached = self._wait(addresses, held.cpu, until, within_s=within_s)
            if held.reached:
                self.standing.add(held.cpu)
                self.bench.count("holds", 1)

    def _begin(self, command: str, cpu: int) -> concurrent.futures.Future[Output]:
        pinned = f"taskset {1 << cpu:x} sh -c {shlex.quote(command)}"
        begun = self.pool.submit(self.guest.execute, pinned, deadline=self.bench.deadline)
        self.commands.append(begun)
        return begun

    def _resume(self) -> None:
        running = [cpu for cpu in range(self.guest.machine.cpus) if cpu not in self.standing]
        if running:
            self.stub.resume(running)

    @contextlib.contextmanager
    def _watched(self, addresses: tuple[int, ...]) -> Iterator[None]:
        """Breakpoints at these addresses, as long as the context."""
        with self.paused():
            for address in addresses:
                self.stub.insert(address)
        yield
        with self.paused():
            for address in addresses:
                self.stub.remove(address)

    def _wait(
        self,
        addresses: tuple[int, ...],
        cpu: int,
        command: concurrent.futures.Future[Output],
        accept: Callable[[int], bool] = lambda _: True,
        *,
        within_s: float = _REACH_S,
    ) -> bool:
        """Whether the processor came to one of the addresses before the command or the time ended.

        All processors stand still then.
        """
        deadline = self.bench.deadline.at_most(min(within_s, _REACH_HOLDING_S if self.standing else _REACH_S))
        while not deadline.passed:
            stop = self.stub.wait_stop(deadline.at_most(_LOOK_S))
            if stop is None:
                if command.done():
                    return False
                continue
            there = stop.cpu == cpu and self.stub.register(cpu, self.registers.pc) in addresses
            if there and accept(cpu):
                return True
            if stop.at_breakpoint:
                # It is to go on, but not to stop at once at the breakpoint that it stands at.
                self.stub.step(stop.cpu)
            self._resume()
        return False


@dataclass(frozen=True)
class Disk:
    """A zram disk whose content is known, each slot a page of it."""

    bench: Bench
    device: ZramDevice
    slots: int
    mix: str

    def command(self, verb: str, options: str = "") -> str:
        """The program that does that to the disk, for a race to start."""
        return f"zblk {verb} --device={self.device.device} --state=/tmp/{self.device.name}.state {options}"

    @property
    def reset(self) -> str:
        """The command that destroys its pool with all that is in it, for a race to start."""
        return f"echo 1 >{self.device.sysfs}/reset"

    def create(self) -> None:
        run(self.bench, "created", self.command("create", f"--slots={self.slots} --seed={self.bench.seed}"))

    def start_again(self) -> None:
        """A new pool for the disk that was reset, which holds nothing yet."""
        self.device.initialise(self.slots * page_bytes(self.bench.guest))
        self.create()

    def write(self) -> None:
        run(self.bench, "written", self.command("write", f"--mix={self.mix}"))

    def verify(self, label: str = "verified") -> None:
        run(self.bench, label, self.command("verify"))

    def check_sound(self) -> None:
        """After a race: nothing is held if all was freed, and the pages that it freed are good to use.

        A page that was freed in a bad state is found when it leaves its processor's list, or
        is given to somebody: so all lists are emptied, and the disk is filled and moved again.
        """
        guest = self.bench.guest
        guest.write(memory.COMPACT, "1")
        self.write()
        guest.write(memory.COMPACT, "1")
        self.verify()
        self.bench.checkpoint("sound")

    def discard(self, options: str = "") -> None:
        """Free what the slots hold, and so all zspages if it is all slots."""
        run(self.bench, "discarded", self.command("discard", options))


@dataclass
class Alike:
    """A zram disk whose pages, of which every third is kept, compress to one size."""

    bench: Bench
    device: ZramDevice
    page: int
    content: list[bytes]

    file = "/tmp/alike"
    seen = "/tmp/alike.seen"

    @property
    def compact(self) -> str:
        """The command that compacts its pool, for a race to start."""
        return f"echo 1 >{self.device.sysfs}/compact"

    def writes(self, slot: int, count: int = 1) -> str:
        """The command that writes slots with their content."""
        return (
            f"dd if={self.file} of={self.device.device} bs={self.page} oflag=direct conv=notrunc"
            f" skip={slot} seek={slot} count={count} 2>/dev/null"
        )

    def reads(self, slot: int) -> str:
        """The command that reads a slot, for `check_read` to look at."""
        return (
            f"dd if={self.device.device} of={self.seen} bs={self.page} iflag=direct"
            f" skip={slot} count=1 2>/dev/null"
        )

    def discards(self, slot: int) -> str:
        """The command that frees a slot, though it may hold nothing."""
        return f"blkdiscard -o {slot * self.page} -l {self.page} {self.device.device}"

    def write(self, slot: int, count: int = 1) -> None:
        self.bench.guest.execute(self.writes(slot, count), deadline=self.bench.deadline)

    def change(self, slot: int) -> bytes:
        """Give a slot another content, to be written yet; returns what it has now."""
        before = self.content[slot]
        self.content[slot] = _other(before)
        self.bench.guest.write(self.file, b"".join(self.content))
        return before

    def change_all(self) -> None:
        """Give every slot another content, to be written yet."""
        self.content = list(map(_other, self.content))
        self.bench.guest.write(self.file, b"".join(self.content))

    def thin_out(self) -> None:
        """Free two of three slots."""
        self.free(slot for slot in range(len(self.content)) if slot % 3)

    def free(self, slots: Iterable[int]) -> None:
        """Free these slots, those that hold nothing included."""
        self.bench.guest.execute("\n".join(map(self.discards, slots)), deadline=self.bench.deadline)

    def discard_all(self) -> None:
        """Free all slots, and so all zspages."""
        self.bench.guest.execute(f"blkdiscard {self.device.device}", deadline=self.bench.deadline)

    def refill(self, behind: int = -1) -> None:
        """Write all slots, or those behind one, so that pages which became free are used again."""
        self.write(behind + 1, len(self.content) - behind - 1)

    def check_read(self, label: str, expected: bytes) -> None:
        """What the command of `reads` saw."""
        seen = self.bench.guest.read(self.seen)
        self._check(label, expected, seen)

    def verify(self, label: str = "all") -> None:
        """All of it, after it was refilled."""
        command = f"dd if={self.device.device} bs={self.page} iflag=direct 2>/dev/null"
        seen = self.bench.guest.execute(command, deadline=self.bench.deadline).stdout
        self._check(label, b"".join(self.content), seen)

    def _check(self, label: str, expected: bytes, seen: bytes) -> None:
        wrong = [at for at, (one, other) in enumerate(zip(expected, seen, strict=False)) if one != other]
        same = expected == seen
        self.bench.count("bytes_verified", len(seen))
        self.bench.check(
            f"content/{label}",
            same,
            expected=f"{len(expected)} bytes as they were written",
            seen="the same" if same else f"{len(seen)} bytes, {len(wrong)} of them wrong",
            because="what is stored comes back unchanged",
        )


def _other(content: bytes) -> bytes:
    """Other bytes that compress to as many."""
    return bytes(byte ^ 0x55 if byte else 0 for byte in content)


@contextlib.contextmanager
def stage(bench: Bench) -> Iterator[Stage]:
    """The guest of a bench with all that runs moved to one processor, so that the other can be held."""
    if not isinstance(bench, Choreographed):
        raise HostError("only a guest in QEMU can be held")
    if bench.guest.machine.cpus != 2:
        raise HostError(f"a race takes two processors, the machine has {bench.guest.machine.cpus}")
    bench.guest.execute(_CLEAR, deadline=bench.deadline)
    memory.keep_quiet(bench.guest)
    with contextlib.ExitStack() as stack:
        pool = concurrent.futures.ThreadPoolExecutor(thread_name_prefix="race")
        stack.callback(pool.shutdown, wait=True)
        stub = stack.enter_context(attached(bench.guest.qmp))
        made = Stage(bench, bench.guest, bench.internals.symbols, stub, pool)
        with made.paused():
            pass
        try:
            yield made
            made.finish()
        except Gone:
            # The guest died while somebody was held: the command that it ran knows of what.
            made.finish()
            raise
