# SPDX-License-Identifier: GPL-2.0-only
"""swapper, fragment, scatter, zreset and poke: what they count, and that they notice a page that changes."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.guest_programs import Ran
from toolkit.run import start

PAGE = os.sysconf("SC_PAGESIZE")

Program = Callable[..., Ran]


def scribble_while_it_runs(argv: list[str | Path], mib: int) -> Ran:
    """Run a program and keep writing into its mapping of that size until it ends."""
    with start(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while process.poll() is None:
            _scribble(process.pid, mib << 20)
        assert process.stdout is not None
        return Ran(process.returncode, json.loads(process.stdout.read()), "")


def _scribble(pid: int, size: int) -> None:
    try:
        low, high = mapping_of(pid, size)
        # Neighbours are merged into one mapping with it: what is its own for sure is the middle.
        with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
            for page in range(high - size, low + size, PAGE):
                memory.seek(page)
                memory.write(b"?")
    except OSError:
        return  # it has ended meanwhile


def test_swapper_verifies_all_it_filled_in_threads_and_children(program: Program) -> None:
    ran = program("swapper", "--mib=4", "--seed=3", "--threads=2", "--rounds=4", "--children=2")
    pages = (4 << 20) // PAGE
    assert ran.status == 0
    assert (ran.report["pages"], ran.report["page_bytes"], ran.report["mismatches"]) == (pages, PAGE, 0)
    # Once at the end, once in each child, and what a child rewrote; and the rounds.
    assert ran.report["reads"] == 3 * pages + 2 * pages // 32 + pages
    assert ran.report["writes"] > pages + 2 * pages // 32
    assert ran.report["discards"] > 0
    assert ran.report["bytes_verified"] == ran.report["reads"] * PAGE


def test_swapper_notices_memory_that_changes(programs: Path) -> None:
    argv: list[str | Path] = [programs / "swapper", "--mib=37", "--seed=3", "--rounds=20", "--children=1"]
    ran = scribble_while_it_runs(argv, 37)
    assert ran.status == 1
    assert ran.report["mismatches"] > 0
    assert ran.report["first_mismatch"]["offset"] == 0
    assert ran.report["first_mismatch"]["seen"].startswith(f"{ord('?'):02x}")


def test_fragment_keeps_every_other_page_and_compacts_twice_a_cycle(program: Program, tmp_path: Path) -> None:
    (tmp_path / "compact").touch()
    ran = program("fragment", "--mib=4", "--seconds=1", "--cycles=2", "--hold-ms=100", "--compact=compact")
    assert ran.status == 0
    assert ran.report["cycles"] >= 2
    assert ran.report["bytes_verified"] == ran.report["cycles"] * (2 << 20)
    assert (tmp_path / "compact").read_text() == "1"


def test_fragment_notices_memory_that_changes(programs: Path) -> None:
    argv: list[str | Path] = [programs / "fragment", "--mib=37", "--seconds=2", "--hold-ms=500"]
    ran = scribble_while_it_runs(argv, 37)
    assert ran.status == 1
    assert ran.report["mismatches"] > 0


def test_fragment_says_if_it_cannot_compact(program: Program) -> None:
    ran = program("fragment", "--mib=1", "--seconds=1", "--compact=missing/compact")
    assert (ran.status, ran.report) == (3, {})
    assert "missing/compact: No such file or directory" in ran.stderr


# The kernel shows frames as 0 to others; guests and CI run as root, some who run the unit tests do not.
@pytest.mark.skipif(os.geteuid() != 0, reason="only root is told where pages lie")
def test_scatter_holds_the_buddies_of_what_it_freed_until_it_is_killed(program: Program) -> None:
    ran = program("scatter", "--mib=37")
    assert ran.status == 0
    process = ran.report["process"]
    try:
        low, high = mapping_of(process, 37 << 20)
        with Path(f"/proc/{process}/pagemap").open("rb") as pagemap:
            pagemap.seek(low // PAGE * 8)
            entries = struct.unpack(f"<{(high - low) // PAGE}Q", pagemap.read((high - low) // PAGE * 8))
        frames = [entry & (1 << 55) - 1 for entry in entries if entry >> 63]
        assert not [frame for frame in frames if frame % 2 == 0]
        # As many are even as odd, unless memory was in single pages before.
        assert (5 << 20) // PAGE <= len(frames) <= (32 << 20) // PAGE
    finally:
        os.kill(process, signal.SIGKILL)


def mapping_of(process: int, size: int) -> tuple[int, int]:
    """A mapping of about that size of a process: its first address, and that behind its last."""
    for line in Path(f"/proc/{process}/maps").read_text(encoding="utf-8").splitlines():
        low, high = (int(word, 16) for word in line.split()[0].split("-"))
        if "rw-p 00000000 00:00 0" in line and size <= high - low < 2 * size:
            return low, high
    raise ProcessLookupError(process, "no such mapping")


@pytest.fixture
def zram(tmp_path: Path) -> list[str]:
    """A file in place of a device, which a reset leaves as it is."""
    (tmp_path / "reset").touch()
    (tmp_path / "disksize").touch()
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, 64 * PAGE)
    return [f"--device={disk}", f"--sysfs={tmp_path}", f"--disksize={64 * PAGE}", "--seed=5", "--seconds=1"]


@contextmanager
def repeatedly(act: Callable[[], None]) -> Iterator[None]:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            act()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_zreset_verifies_in_every_session(program: Program, zram: list[str]) -> None:
    ran = program("zreset", *zram, "--users=3", "--resetters=2")
    assert ran.status == 0
    assert ran.report["sessions"] > 0
    assert ran.report["resets"] > 0
    assert ran.report["writes"] == 8 * ran.report["sessions"]
    assert ran.report["reads"] == 16 * ran.report["sessions"]


def test_zreset_notices_content_that_nobody_wrote(program: Program, zram: list[str], tmp_path: Path) -> None:
    def spoil() -> None:
        with (tmp_path / "disk").open("r+b") as disk:
            disk.write(b"wrong" * PAGE)

    with repeatedly(spoil):
        ran = program("zreset", *zram)
    assert ran.status == 1
    assert ran.report["mismatches"] > 0


def test_zreset_takes_a_device_without_a_size_for_a_reset_one(
    program: Program, zram: list[str], tmp_path: Path
) -> None:
    os.truncate(tmp_path / "disk", 0)
    ran = program("zreset", *zram, "--resetters=0")
    assert (ran.status, ran.report["sessions"]) == (0, 0)
    assert ran.report["refused"] > 0


def test_poke_counts_what_was_written_and_what_was_refused(program: Program, tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    ran = program("poke", "--seconds=1", "--every-ms=100", "--value=7", "there", "missing")
    assert ran.status == 0
    assert ran.report["writes"] == ran.report["errors"] > 1
    assert ran.report["last_error"] == "No such file or directory"
    assert (tmp_path / "there").read_text() == "7"


@pytest.mark.parametrize(
    ("name", "arguments", "complaint"),
    [
        ("swapper", ["--mib=0"], "usage: swapper"),
        ("swapper", ["--mib=1", "--threads=65"], "usage: swapper"),
        ("fragment", ["--mib=1"], "usage: fragment"),
        ("zreset", ["--device=d"], "are needed"),
        ("poke", ["--seconds=1", "--every-ms=1"], "usage: poke"),
    ],
)
def test_wrong_usage_says_what_is_wrong(
    program: Program, name: str, arguments: list[str], complaint: str
) -> None:
    ran = program(name, *arguments)
    assert (ran.status, ran.report) == (2, {})
    assert complaint in ran.stderr
