# SPDX-License-Identifier: GPL-2.0-only
"""Memory that a guest is not told of when it boots, and memory that goes offline."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from toolkit.deadline import Deadline
from toolkit.errors import HostError
from toolkit.kernel import arch
from toolkit.rig.guest import Output
from toolkit.run import run
from toolkit.workload import memory
from toolkit.workload.programs import Report

# 768 MiB from 1 GiB on, of which the kernel was told 512 ("mem=512M").
REG = bytes.fromhex("0000000040000000 0000000030000000")
IOMEM = """\
09000000-09000fff : pl011@9000000
40000000-5fffffff : System RAM
  40210000-4119ffff : Kernel code
"""


@dataclass
class _Guest:
    arch: arch.Arch
    files: Mapping[str, bytes]
    ran: list[str] = field(default_factory=list)

    def execute(self, command: str, *, deadline: Deadline, stdin: bytes = b"") -> Output:
        self.ran.append(command)
        told = self.files.get(command.removeprefix("cat "), b"")
        return Output(command, 0, told, b"")

    def read(self, path: str) -> bytes:
        return self.files[path]


def bench(name: str, modules: Path, *, block: int = 128 << 20) -> SimpleNamespace:
    """One whose guest has memory that it was not told of, and takes it in blocks of so many bytes."""
    guest = _Guest(
        arch.load(name),
        {
            "/sys/firmware/devicetree/base/memory@*/reg": REG,
            "/proc/iomem": IOMEM.encode(),
            f"{memory.BLOCKS}/block_size_bytes": f"{block:x}\n".encode(),
        },
    )
    internals = SimpleNamespace(modules=lambda: modules)
    return SimpleNamespace(guest=guest, deadline=Deadline.after(60.0), internals=internals)


@pytest.mark.parametrize("name", arch.names())
def test_memory_that_the_kernel_was_not_told_of_is_added_where_it_was_not(name: str, tmp_path: Path) -> None:
    (tmp_path / "addmem.ko").write_bytes(b"ELF")
    made = bench(name, tmp_path)
    memory.add_removable(made)
    loaded = [command for command in made.guest.ran if "insmod" in command]
    if made.guest.arch.boot_memory_stays:
        assert len(loaded) == 1
        assert "start=0x60000000 size=0x10000000" in loaded[0]
        assert "online_movable" in made.guest.ran[-1]
    else:
        assert not made.guest.ran


def test_memory_that_is_no_whole_block_is_not_tried(tmp_path: Path) -> None:
    stays = next(name for name in arch.names() if arch.load(name).boot_memory_stays)
    with pytest.raises(HostError, match=r"in blocks of 512 MiB, .* 256 MiB from 0x60000000 on are none"):
        memory.add_removable(bench(stays, tmp_path, block=512 << 20))


def test_blocks_that_do_not_go_offline_are_told_and_none_is_waited_for_without_end(tmp_path: Path) -> None:
    for name, zones in (
        ("memory1", "Movable"),
        ("memory2", "Normal"),
        ("memory3", "Movable"),
        ("memory4", "Movable"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "valid_zones").write_text(f"{zones}\n", encoding="utf-8")
    (tmp_path / "memory1/state").write_text("online\n", encoding="utf-8")
    # A write to it fails; one to a pipe that nobody reads takes for ever.
    (tmp_path / "memory3/state").mkdir()
    os.mkfifo(tmp_path / "memory4/state")
    command = memory.cycle_blocks(tries=1, patience_s=1).replace(memory.BLOCKS, str(tmp_path))
    done = run(["sh", "-c", command], deadline=Deadline.after(60.0))
    report = Report(json.loads(done.stdout))
    assert report.number("offlined") == 1
    assert memory.refused_blocks(report) == {"memory3", "memory4"}
    assert (tmp_path / "memory1/state").read_text(encoding="utf-8") == "online_movable\n"
