# SPDX-License-Identifier: GPL-2.0-only
"""A zram device in the guest, and what it must account for what a program stored."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from toolkit.deadline import Deadline
from toolkit.errors import CommandError, GuestError
from toolkit.rig.guest import Guest
from toolkit.workload import Bench, memory
from toolkit.workload.programs import Report, page_bytes, run

CONTROL = "/sys/class/zram-control"

_ATTRIBUTE_S = 60.0
# Of those that are written: the others tell nothing.
_READABLE = ("backing_dev", "comp_algorithm", "disksize")
# Of a list that is not what it should be.
_SHOWN = 8


@dataclass(frozen=True)
class MmStat:
    """The first columns of a zram device's mm_stat, which all kernels from 4.18 on have.

    Sizes are in bytes, the rest in pages (Documentation/admin-guide/blockdev/zram.rst).
    """

    orig_data_size: int
    compr_data_size: int
    mem_used_total: int
    mem_limit: int
    mem_used_max: int
    same_pages: int
    pages_compacted: int
    huge_pages: int

    @classmethod
    def parse(cls, text: str) -> MmStat:
        columns = [int(word) for word in text.split()]
        if len(columns) < 8:
            raise CommandError("cat mm_stat", 0, f"expected 8 columns or more: {text!r}")
        return cls(*columns[:8])


@dataclass(frozen=True)
class DebugStat:
    """A zram device's debug_stat: events, not pages (version 1 of the file)."""

    writestall: int
    miss_free: int

    @classmethod
    def parse(cls, text: str) -> DebugStat:
        version, _, rest = text.partition("\n")
        columns = rest.split()
        if version.split() != ["version:", "1"] or len(columns) != 2:
            raise CommandError("cat debug_stat", 0, f"not version 1: {text!r}")
        return cls(*map(int, columns))


@dataclass(frozen=True)
class ZramDevice:
    """One zram device, by its number."""

    guest: Guest
    number: int

    @property
    def name(self) -> str:
        return f"zram{self.number}"

    @property
    def device(self) -> str:
        return f"/dev/{self.name}"

    @property
    def sysfs(self) -> str:
        return f"/sys/block/{self.name}"

    def initialise(self, disksize_bytes: int, algorithm: str | None = None) -> None:
        """Give it a size, by which it gets its pool; the algorithm is the kernel's default if None."""
        if algorithm is not None:
            self.guest.write(f"{self.sysfs}/comp_algorithm", algorithm)
        self.guest.write(f"{self.sysfs}/disksize", str(disksize_bytes))

    def reset(self) -> None:
        """Free everything it stores, its pool too; it has no size after that."""
        self.guest.write(f"{self.sysfs}/reset", "1")

    def compact(self) -> None:
        self.guest.write(f"{self.sysfs}/compact", "1")

    def mm_stat(self) -> MmStat:
        return MmStat.parse(self.guest.read(f"{self.sysfs}/mm_stat").decode())

    def debug_stat(self) -> DebugStat:
        return DebugStat.parse(self.guest.read(f"{self.sysfs}/debug_stat").decode())

    def io_stat(self) -> tuple[int, int, int, int]:
        """failed_reads, failed_writes, invalid_io, notify_free."""
        reads, writes, invalid, freed = map(int, self.guest.read(f"{self.sysfs}/io_stat").split()[:4])
        return reads, writes, invalid, freed

    def bd_stat(self) -> tuple[int, int, int]:
        """bd_count, bd_reads, bd_writes, in units of 4 KiB."""
        count, reads, writes = map(int, self.guest.read(f"{self.sysfs}/bd_stat").split()[:3])
        return count, reads, writes

    def attribute(self, name: str) -> str:
        """What an attribute says, without the end of its line."""
        return self.guest.read(f"{self.sysfs}/{name}").decode().strip()

    def has(self, name: str) -> bool:
        """Whether this kernel's zram has such an attribute."""
        there = f"test -e {self.sysfs}/{name}"
        return self.guest.execute(there, deadline=Deadline.after(_ATTRIBUTE_S), ok=(0, 1)).status == 0

    def refuses(self, name: str, value: str) -> str:
        """Why an attribute cannot be set to a value, in the C library's words; nothing if it can."""
        return put(self.guest, f"{self.sysfs}/{name}", value)

    def accessed(self) -> dict[int, float]:
        """When each slot that stores something was last used, in seconds since boot."""
        return {int(slot): float(time) for slot, time, *_ in self._block_state()}

    def block_state(self) -> dict[int, str]:
        """The letters that debugfs shows for each slot that stores something: s, w, h, i."""
        return {int(slot): flags.replace(".", "") for slot, _time, flags, *_ in self._block_state()}

    def block_state_text(self, at_a_time: int = 0) -> str:
        """The file itself, read so many lines at a time, all of which are as long; at once if that is 0."""
        path = self._block_state_path
        text = self.guest.read(path).decode()
        if not (at_a_time and text):
            return text
        piece = (text.index("\n") + 1) * at_a_time
        read = self.guest.execute(
            f"dd if={path} bs={piece} 2>/dev/null", deadline=Deadline.after(_ATTRIBUTE_S)
        )
        return read.stdout.decode()

    @property
    def _block_state_path(self) -> str:
        return f"/sys/kernel/debug/zram/{self.name}/block_state"

    def _block_state(self) -> list[list[str]]:
        lines = [line.split() for line in self.block_state_text().splitlines()]
        slots = [int(slot) for slot, *_ in lines]
        for before, after in itertools.pairwise(slots):
            if after <= before:
                raise CommandError(
                    f"cat {self._block_state_path}", 0, f"slot {after} comes after slot {before}"
                )
        return lines


def outlive(device: ZramDevice) -> float:
    """A time since boot, in seconds, after all uses so far and before those to come.

    Newer kernels' zram knows only whole seconds, which therefore have to pass.
    """
    guest = device.guest
    coarse = all(used_s.is_integer() for used_s in device.accessed().values())
    if coarse:
        guest.execute("sleep 1.1", deadline=Deadline.after(_ATTRIBUTE_S))
    now_s = float(guest.read("/proc/uptime").split()[0])
    return float(int(now_s)) if coarse else now_s


def put(guest: Guest, path: str, value: str) -> str:
    """Why a file of sysfs refuses a value, in the C library's words; nothing if it takes it."""
    output = guest.execute(
        f"put {path}", deadline=Deadline.after(_ATTRIBUTE_S), stdin=value.encode(), ok=None
    )
    said = output.stderr.decode("utf-8", "replace").strip()
    return said.rpartition(": ")[2] if output.status else ""


@contextlib.contextmanager
def added(guest: Guest) -> Iterator[ZramDevice]:
    """A new zram device without a size, removed at the end."""
    device = ZramDevice(guest, int(guest.read(f"{CONTROL}/hot_add")))
    try:
        yield device
    except BaseException:
        # A guest that is in trouble already must not hide by which error it got there.
        with contextlib.suppress(GuestError):
            guest.write(f"{CONTROL}/hot_remove", str(device.number))
        raise
    guest.write(f"{CONTROL}/hot_remove", str(device.number))


@contextlib.contextmanager
def disk(
    guest: Guest, disksize_bytes: int, *, algorithm: str | None = None, backing: str = ""
) -> Iterator[ZramDevice]:
    """A new zram device of that size, removed at the end; `backing` is a block device to write back to."""
    with added(guest) as device:
        if backing:
            guest.write(f"{device.sysfs}/backing_dev", backing)
        device.initialise(disksize_bytes, algorithm)
        yield device


_FILL_BESIDE = """
n=0
while [ $n -lt {pieces} ]; do
    zblk write --mix=mixed --from=$((n * {slots})) --to=$(((n + 1) * {slots})) {options} || exit 1
    head -c {file_kib}k /dev/zero >>{file} || exit 1
    n=$((n + 1))
done >/dev/null
"""


@dataclass(frozen=True)
class KnownDisk:
    """A zram disk whose every slot zblk knows; `options` tell zblk of both."""

    bench: Bench
    device: ZramDevice
    slots: int
    options: str

    def run(self, label: str, command: str) -> Report:
        """Run a command of zblk on it, as `programs.run` does."""
        return run(self.bench, label, f"zblk {command} {self.options}")

    def fill_beside(self, file: str, *, pieces: int, file_kib: int) -> None:
        """Fill it in so many pieces, after each of which a file grows: both have pages in every block."""
        self.bench.guest.execute(
            _FILL_BESIDE.format(
                pieces=pieces, slots=self.slots // pieces, options=self.options, file=file, file_kib=file_kib
            ),
            deadline=self.bench.deadline,
        )

    def settle(self, label: str) -> None:
        """At rest: verify all of it, and what zram accounts; a checkpoint."""
        report = self.run(f"{label}-verified", "verify")
        check_accounting(self.bench, label, self.device, report)
        check_io_errors(self.bench, label, self.device)
        self.bench.checkpoint(label)

    def empty(self, command: str = "discard") -> None:
        """Discard all of it, and find that no page is held; a checkpoint."""
        self.run("emptied", command)
        check_emptied(self.bench, "emptied", self.device)
        check_io_errors(self.bench, "emptied", self.device)
        self.bench.checkpoint("emptied")


@contextlib.contextmanager
def known_disk(bench: Bench, disksize_bytes: int, options: str = "") -> Iterator[KnownDisk]:
    """A new zram disk of about that size (`slots_for`), removed at the end: its pages must be back then.

    `options` are zblk's own, for whatever it does with the disk.
    """
    guest = bench.guest
    pages_before = nr_zspages(guest)
    slots = slots_for(guest, disksize_bytes)
    with disk(guest, slots * page_bytes(guest)) as device:
        names = f"--device={device.device} --state=/tmp/{device.name}.state"
        known = KnownDisk(bench, device, slots, f"{names} {options}".rstrip())
        known.run("created", f"create --slots={slots} --seed={bench.seed}")
        yield known
    check_residue(bench, "removed", pages_before)


@contextlib.contextmanager
def swap(bench: Bench, device: ZramDevice) -> Iterator[None]:
    """Swap on that device, which must have a size; swapped off at the end."""
    guest = bench.guest
    guest.execute(f"mkswap {device.device} && swapon {device.device}", deadline=bench.deadline)
    try:
        yield
    except BaseException:
        with contextlib.suppress(GuestError):
            guest.execute(f"swapoff {device.device}", deadline=bench.deadline)
        raise
    guest.execute(f"swapoff {device.device}", deadline=bench.deadline)


def check_swap_slots(bench: Bench, device: ZramDevice, header_bytes: int) -> None:
    """Of a disk that was swapped on, no more may be left than its header, but for what zram knows it missed.

    A slot whose lock was held when swap let go of it stays; zram counts these.
    """
    left = (device.mm_stat().orig_data_size - header_bytes) // page_bytes(bench.guest)
    missed = device.debug_stat().miss_free
    bench.check(
        "accounting/swap-slots",
        left <= missed,
        expected=f"at most {missed} pages stored",
        seen=left,
        because="every swap slot was freed, but for those that zram counts as missed",
    )


def nr_zspages(guest: Guest) -> int:
    """Pages that all zspages of the guest have."""
    return memory.counters(guest, "nr_zspages")["nr_zspages"]


def check_accounting(bench: Bench, label: str, device: ZramDevice, report: Report) -> MmStat:
    """Compare mm_stat, at rest, with what the program knows to have stored; returns it.

    zram's counters change by whole pages under the slot's lock, so at rest they are
    exact however many threads there were.
    """
    seen = device.mm_stat()
    page = report.number("slot_bytes")
    _exact(bench, f"accounting/{label}/orig_data_size", report.number("stored") * page, seen.orig_data_size)
    _exact(bench, f"accounting/{label}/same_pages", report.number("same"), seen.same_pages)
    _between(
        bench,
        f"accounting/{label}/huge_pages",
        (report.number("huge_certain"), report.number("huge_possible")),
        seen.huge_pages,
        "random bytes do not compress; huge_class_size is between 3/4 and 15/16 of a page",
    )
    _between(
        bench,
        f"accounting/{label}/compr_data_size",
        (report.number("compressed_least"), report.number("compressed_most")),
        seen.compr_data_size,
        "random bytes do not compress, and grow by 1/16 and 67 bytes at most",
    )
    return seen


def check_io_errors(bench: Bench, label: str, device: ZramDevice) -> None:
    """No request may have failed or been refused."""
    failed = device.io_stat()[:3]
    bench.check(
        f"io/{label}/failed",
        failed == (0, 0, 0),
        expected="failed_reads 0, failed_writes 0, invalid_io 0",
        seen="failed_reads {}, failed_writes {}, invalid_io {}".format(*failed),
        because="every request was a valid one",
    )


def check_emptied(bench: Bench, label: str, device: ZramDevice) -> None:
    """Nothing is stored any more, so no page may be held: exact if nothing else ran."""
    held = device.mm_stat().mem_used_total
    _exact(bench, f"residue/{label}", 0, held, "a zspage is freed with its last object")


def check_residue(bench: Bench, label: str, before: int) -> None:
    """As many zspage pages as before the workload had any device."""
    _exact(bench, f"residue/{label}", before, nr_zspages(bench.guest), "a destroyed pool keeps no page")


def check_forgotten(bench: Bench, label: str, device: ZramDevice) -> None:
    """A device that was reset is as a new one is."""
    for name, wanted in (("initstate", "0"), ("disksize", "0"), ("size", "0")):
        expect(bench, f"{label}/{name}", wanted, device.attribute(name))
    for name in ("mm_stat", "io_stat", "stat"):
        left = [word for word in device.attribute(name).split() if word != "0"]
        expect(bench, f"{label}/{name}", [], left)


def fill_backing(bench: Bench, path: str) -> None:
    """Write all of a RAM disk, whose memory is never given back, so that it is known how much that is."""
    guest = bench.guest
    guest.execute(
        f"dd if=/dev/zero of={path} bs=1M oflag=direct 2>/dev/null || true", deadline=bench.deadline
    )
    sectors = int(guest.read(f"/sys/block/{path.rpartition('/')[2]}/size"))
    bench.count("pages_kept", sectors * 512 // page_bytes(guest))


def slots_for(guest: Guest, disksize_bytes: int, *, at_least: int = 512) -> int:
    """How many slots, one a page, make a disk of that size; `at_least` where pages are large."""
    return max(at_least, disksize_bytes // page_bytes(guest))


def expect(bench: Bench, name: str, wanted: object, seen: object) -> None:
    """Check that something is exactly as it must be, where nothing but this workload acts."""
    because = "nothing else touches the device"
    bench.check(name, wanted == seen, expected=_short(wanted), seen=_short(seen), because=because)


def check_refused(bench: Bench, name: str, device: ZramDevice, attribute: str, value: str, why: str) -> None:
    """Check that an attribute refuses a value, and why, and that it is what it was, if it can be read."""
    before = device.attribute(attribute) if attribute in _READABLE else None
    expect(bench, name, why, device.refuses(attribute, value))
    if before is not None:
        expect(bench, f"{name}/kept", before, device.attribute(attribute))


def _short(value: object) -> object:
    """A value as it is to be read: of a long list, its beginning."""
    if isinstance(value, list) and len(value) > _SHOWN:
        return f"{value[:_SHOWN]} and {len(value) - _SHOWN} more"
    return value


def _exact(bench: Bench, name: str, expected: int, seen: int, because: str = "") -> None:
    bench.check(
        name,
        seen == expected,
        expected=expected,
        seen=seen,
        because=because or "the program knows what each slot holds",
    )


def _between(bench: Bench, name: str, bounds: tuple[int, int], seen: int, because: str) -> None:
    low, high = bounds
    bench.check(name, low <= seen <= high, expected=f"from {low} to {high}", seen=seen, because=because)
