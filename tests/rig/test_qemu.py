# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's command line, whole, for each machine, architecture and accelerator."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from toolkit.errors import QemuError
from toolkit.kernel import arch
from toolkit.rig import machine, qemu
from toolkit.rig.accelerator import Accelerator
from toolkit.rig.qemu import Memory, Setup

RECORDED = Path(__file__).parents[1] / "data" / "argv"
CASES = tuple(itertools.product(machine.names(), arch.names(), ("kvm", "tcg")))


def setup(machine_name: str = "default", arch_name: str = "", accelerator: str = "tcg") -> Setup:
    return Setup(
        arch=arch.load(arch_name or arch.names()[0]),
        machine=machine.load(machine_name),
        accelerator=Accelerator(accelerator, "a test wants it"),
        kernel=Path("/kernel"),
        initramfs=Path("/initramfs"),
    )


def lines(argv: list[str]) -> str:
    """An option and its value on one line, to be read and compared."""
    words = " ".join(argv[1:]).split(" -")
    return "\n".join([argv[0], *(word if word.startswith("-") else f"-{word}" for word in words)]) + "\n"


@pytest.mark.parametrize(("machine_name", "arch_name", "accelerator"), CASES)
def test_command_line_is_the_recorded_one(machine_name: str, arch_name: str, accelerator: str) -> None:
    """What cannot be tried on every host, such as KVM, is at least what was read and agreed to."""
    made = qemu.argv(
        setup(machine_name, arch_name, accelerator), console="socket,fd=3", control="socket,fd=4"
    )
    recorded = RECORDED / f"{machine_name}-{arch_name}-{accelerator}.txt"
    assert recorded.exists(), f"read this, then record it in {recorded}:\n{lines(made)}"
    assert lines(made) == recorded.read_text(encoding="utf-8")


def test_a_template_writes_its_memory_to_the_file_and_a_clone_does_not() -> None:
    def backend(shared: bool) -> str:
        memory = Memory(Path("/dev/shm/memory"), shared=shared)
        argv = qemu.argv(setup(), console="null", control="null", memory=memory)
        return argv[argv.index("-object") + 1]

    assert backend(shared=True).endswith("mem-path=/dev/shm/memory,share=on")
    assert backend(shared=False).endswith("mem-path=/dev/shm/memory,share=off")


def test_each_node_has_its_own_memory_and_file() -> None:
    argv = qemu.argv(
        setup("nodes"), console="null", control="null", memory=Memory(Path("/dev/shm/memory"), shared=True)
    )
    given = [argv[at + 1] for at, word in enumerate(argv) if word in ("-object", "-numa")]
    assert [option.rpartition("mem-path=")[2] for option in given[:2]] == [
        "/dev/shm/memory,share=on",
        "/dev/shm/memory.1,share=on",
    ]
    assert [option.rpartition("memdev=")[2] for option in given[2:4]] == ["ram", "ram1"]
    assert "memory-backend" not in argv[argv.index("-machine") + 1]


@pytest.mark.parametrize("arch_name", arch.names())
def test_a_clone_differs_from_its_template_in_memory_and_in_waiting_for_state(arch_name: str) -> None:
    """And in that it may have its kernel in its memory alone."""
    made = setup(arch_name=arch_name)
    template = qemu.argv(made, console="null", control="null", memory=Memory(Path("/m"), shared=True))
    clone = qemu.argv(
        made, console="null", control="null", memory=Memory(Path("/m"), shared=False), incoming=True
    )
    assert clone[-2:] == ["-incoming", "defer"]
    if made.arch.kernel_in_memory:
        at = template.index("-kernel")
        assert template[at : at + 6 : 2] == ["-kernel", "-initrd", "-append"]
        del template[at : at + 6]
    assert [word.replace("share=off", "share=on") for word in clone[:-2]] == template


def test_a_comma_in_the_path_of_the_memory_does_not_end_the_option() -> None:
    memory = Memory(Path("/tmp/a,b/memory"), shared=True)
    argv = qemu.argv(setup(), console="null", control="null", memory=memory)
    assert "mem-path=/tmp/a,,b/memory,share=on" in argv[argv.index("-object") + 1]


def test_the_guest_reaches_whoever_started_it_and_is_reached_by_nobody() -> None:
    argv = qemu.argv(setup(), console="null", control="null", ssh="socket,fd=5")
    network = argv[argv.index("-netdev") + 1].split(",")
    assert "restrict=on" in network
    assert [option for option in network if "fwd" in option] == ["guestfwd=tcp:10.0.2.100:22-chardev:ssh"]
    assert "socket,id=ssh,fd=5" in argv


def test_the_command_line_of_machine_and_caller_come_last_so_that_they_win() -> None:
    made = setup()
    words = Setup(**{**vars(made), "append": "loglevel=3"}).command_line.split()
    assert words[-1] == "loglevel=3"


def test_an_inspectable_guest_differs_in_what_inspecting_takes_and_stays_when_it_crashed() -> None:
    plain = qemu.argv(setup(), console="null", control="null")
    made = Setup(**{**vars(setup()), "inspectable": True})
    argv = qemu.argv(made, console="null", control="null", inspector="socket,fd=5,server=on,wait=off")
    assert argv[: len(plain)] == plain
    assert argv[len(plain) :] == [
        "-device", "vmcoreinfo",
        "-chardev", "socket,id=inspector,fd=5,server=on,wait=off",
        "-mon", "chardev=inspector,mode=control",
        "-action", "shutdown=pause",
    ]  # fmt: skip


@pytest.mark.qemu
def test_qemu_that_refuses_its_command_line_is_an_error_with_its_words(tmp_path: Path) -> None:
    wrong = Setup(**{**vars(setup()), "kernel": tmp_path / "absent", "initramfs": tmp_path / "absent"})
    with pytest.raises(QemuError, match="QEMU did not start") as caught, qemu.running(wrong, tmp_path):
        pass
    assert "absent" in caught.value.detail
    assert str(tmp_path / "qemu.command") in caught.value.hint
