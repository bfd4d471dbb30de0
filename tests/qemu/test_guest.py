# SPDX-License-Identifier: GPL-2.0-only
"""Guests that really run: booted, cloned, and ended in every way a guest can end."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import paramiko
import pytest
from paramiko.common import cMSG_CHANNEL_EOF

from tests.qemu.conftest import BOOT_S, CLONE_S
from toolkit.deadline import Deadline
from toolkit.errors import BootError, CommandError, CrashError, HangError, QemuError
from toolkit.rig import cpio, qemu, qemu_guest, splats, template
from toolkit.rig.console import Phase, Progress
from toolkit.rig.qemu import Setup
from toolkit.rig.qemu_guest import Ending, QemuGuest
from toolkit.rig.template import Template
from toolkit.store import Store

pytestmark = [pytest.mark.qemu, pytest.mark.kernel]

COMMAND_S = 60.0
# What must happen at once may take this long on a busy host; the deadlines it must not wait for are longer.
SOON_S = 30.0
LONG_S = 10 * SOON_S


def ask(guest: QemuGuest, command: str) -> str:
    return guest.execute(command, deadline=Deadline.after(COMMAND_S)).text.strip()


def test_the_connection_outlives_an_end_of_input_that_comes_late(
    frozen: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = paramiko.Transport._send_user_message  # type: ignore[attr-defined]

    def send_late(transport: paramiko.Transport, message: paramiko.Message) -> None:
        if message.asbytes().startswith(cMSG_CHANNEL_EOF):
            time.sleep(0.5)
        send(transport, message)

    monkeypatch.setattr(paramiko.Transport, "_send_user_message", send_late)
    with template.clone(frozen, tmp_path, deadline=Deadline.after(CLONE_S)) as guest:
        for said in ("one", "two", "three"):
            assert ask(guest, f"echo {said}") == said


def test_a_guest_tells_why_its_ssh_server_ended(frozen: Template, tmp_path: Path) -> None:
    with template.clone(frozen, tmp_path, deadline=Deadline.after(CLONE_S)) as guest:
        with pytest.raises(HangError) as caught:
            ask(guest, "kill -TERM $PPID; sleep 60")
        assert "Terminated by signal" in caught.value.detail


def test_a_boot_ends_in_a_guest_as_declared(setup: Setup, tmp_path: Path) -> None:
    with qemu_guest.boot(setup, tmp_path, deadline=Deadline.after(BOOT_S)) as guest:
        assert ask(guest, "uname -m") == setup.arch.host_machine
        assert int(ask(guest, "nproc")) == setup.machine.cpus
        total_kib = int(ask(guest, "grep MemTotal /proc/meminfo").split()[1])
        assert 0.8 < total_kib / (setup.machine.memory_mib << 10) <= 1
        assert "Linux version" in guest.console()
        assert guest.ending() is Ending.RUNNING
    assert guest.ending() is Ending.FINISHED
    assert (tmp_path / "qemu.command").read_text(encoding="utf-8").startswith(setup.arch.qemu)


def test_what_the_kernel_offers_is_mounted(guest: QemuGuest) -> None:
    mounted = {line.split()[1] for line in guest.read("/proc/mounts").decode().splitlines()}
    assert {"/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/tmp", "/run", "/sys/kernel/debug"} <= mounted
    assert guest.read("/sys/kernel/tracing/tracing_on") == b"1\n"


def test_init_reaps_what_nobody_waits_for(guest: QemuGuest) -> None:
    ask(guest, "(true & true &)")
    assert ask(guest, "sleep 0.2; ps | grep -c '[Z] '; true") == "0"


def test_a_command_leaves_status_and_streams(guest: QemuGuest) -> None:
    done = guest.execute(
        "cat; echo err >&2; exit 3", deadline=Deadline.after(COMMAND_S), stdin=b"in", ok=(3,)
    )
    assert (done.status, done.stdout, done.stderr) == (3, b"in", b"err\n")
    with pytest.raises(CommandError, match="ended with status 127") as caught:
        ask(guest, "no-such-program")
    assert "not found" in caught.value.output


def test_files_go_in_and_out_whole(guest: QemuGuest) -> None:
    data = os.urandom(1 << 20)
    guest.write("/tmp/a file", data)
    assert guest.read("/tmp/a file") == data


def test_an_attribute_is_written_at_once_and_its_error_told(guest: QemuGuest) -> None:
    guest.write("/sys/block/zram0/disksize", "1048576")
    assert guest.read("/sys/block/zram0/disksize") == b"1048576\n"
    with pytest.raises(CommandError) as caught:
        guest.write("/sys/block/zram0/comp_algorithm", "none such")
    assert "cannot write /sys/block/zram0/comp_algorithm" in caught.value.output


def test_the_kernels_messages_reach_the_console_and_not_the_output(guest: QemuGuest) -> None:
    assert ask(guest, "echo '<4>a word from the kernel' >/dev/kmsg; echo out") == "out"
    assert "a word from the kernel" in guest.console()


def test_a_clone_is_pristine_whatever_another_did(frozen: Template, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        guests = []
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            guests.append(
                stack.enter_context(template.clone(frozen, tmp_path / name, deadline=Deadline.after(CLONE_S)))
            )
        one, other = guests
        one.write("/tmp/mark", "one was here")
        one.write("/sys/block/zram0/disksize", "1048576")
        assert ask(other, "ls /tmp") == ""
        assert other.read("/sys/block/zram0/disksize") == b"0\n"
        with pytest.raises(CrashError):
            ask(one, "echo c >/proc/sysrq-trigger")
        assert ask(other, "echo unharmed") == "unharmed"
    (tmp_path / "third").mkdir()
    with template.clone(frozen, tmp_path / "third", deadline=Deadline.after(CLONE_S)) as third:
        assert ask(third, "ls /tmp") == ""


def test_clones_have_a_clock_and_random_numbers_of_their_own(frozen: Template, tmp_path: Path) -> None:
    drawn = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        started = int(time.time())
        with template.clone(frozen, tmp_path / name, deadline=Deadline.after(CLONE_S)) as guest:
            assert started <= int(ask(guest, "date +%s")) <= time.time()
            drawn.append(ask(guest, "head -c 16 /dev/urandom | xxd -p"))
    assert drawn[0] != drawn[1]


def test_a_panic_ends_the_command_at_once_with_its_report(guest: QemuGuest) -> None:
    deadline = Deadline.after(LONG_S)
    with pytest.raises(CrashError, match="sysrq triggered crash") as caught:
        guest.execute("echo c >/proc/sysrq-trigger; sleep 600", deadline=deadline)
    assert deadline.remaining_s > LONG_S - SOON_S
    assert "write_sysrq_trigger" in caught.value.detail
    assert guest.ending() is Ending.CRASHED


def test_a_reboot_is_no_finish(guest: QemuGuest) -> None:
    with pytest.raises(CrashError, match="rebooted"):
        ask(guest, "reboot -f; sleep 600")
    assert guest.ending() is Ending.REBOOTED


def test_a_command_that_does_not_end_is_a_hang_with_what_could_be_learnt(guest: QemuGuest) -> None:
    with pytest.raises(HangError, match="did not end in time; the guest still answers"):
        guest.execute("sleep 600", deadline=Deadline.after(1.0))
    assert guest.ending() is Ending.HUNG
    registers = (guest.directory / "registers.txt").read_text(encoding="utf-8")
    assert registers.count("CPU#") == guest.machine.cpus
    assert "Show Blocked State" in guest.console()


def test_a_guest_that_qemu_does_not_let_run_blames_the_host_and_not_the_kernel(
    guest: QemuGuest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu_guest, "_PROBE_S", 1.0)
    guest.qmp.execute("stop")
    with pytest.raises(QemuError, match="QEMU did not let the guest run while it ran 'true'"):
        guest.execute("true", deadline=Deadline.after(1.0))
    assert guest.ending() is Ending.RUNNING


def test_a_network_that_brings_nothing_blames_the_host_and_not_the_kernel(
    guest: QemuGuest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu_guest, "_PROBE_S", 1.0)
    guest.qmp.execute("set_link", name="net", up=False)
    with pytest.raises(QemuError, match="the network to the guest brings nothing"):
        guest.execute("true", deadline=Deadline.after(1.0))
    assert guest.ending() is Ending.RUNNING


def test_a_clone_that_nothing_reaches_blames_the_host_and_not_the_kernel(
    frozen: Template, tmp_path: Path
) -> None:
    with template.thawed(frozen, tmp_path) as (process, console):
        process.monitor.execute("set_link", name="net", up=False)
        waited = qemu_guest.answering(frozen.setup, process, console, deadline=Deadline.after(5.0))
        with pytest.raises(QemuError, match="the network to the guest brings nothing"), waited:
            pass


def test_a_guest_that_stalled_is_not_kept_to_be_cloned(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalled = splats.find_reports("[   94.919578] rcu: INFO: rcu_sched self-detected stall on CPU\n")
    monkeypatch.setattr(splats, "find_reports", lambda text: stalled)
    store = Store(tmp_path)
    with pytest.raises(QemuError, match="too slow: rcu: INFO: rcu_sched"):
        template.template(setup, deadline=Deadline.after(BOOT_S), store=store)
    assert store.find("template", template.key(setup)) is None


def test_a_guest_that_works_behind_a_dead_network_is_a_hang(
    guest: QemuGuest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu_guest, "_PROBE_S", 1.0)
    guest.execute("while :; do :; done >/dev/null 2>&1 &", deadline=Deadline.after(LONG_S))
    guest.qmp.execute("set_link", name="net", up=False)
    with pytest.raises(HangError, match="does not answer"):
        guest.execute("true", deadline=Deadline.after(1.0))


def test_the_death_of_qemu_blames_the_host_and_not_the_kernel(guest: QemuGuest) -> None:
    os.kill(guest.pid, signal.SIGKILL)
    with pytest.raises(QemuError, match="status -9"):
        ask(guest, "sleep 600")
    assert guest.ending() is Ending.LOST


def test_a_boot_that_panics_ends_at_once_and_shows_why(setup: Setup, tmp_path: Path) -> None:
    broken = dataclasses.replace(setup, append="rdinit=/usr/bin/no-such-init")
    deadline = Deadline.after(BOOT_S)
    with (
        pytest.raises(BootError, match=r"crashed while it booted: .*Kernel panic") as caught,
        qemu_guest.boot(broken, tmp_path, deadline=deadline),
    ):
        pass
    assert not deadline.passed
    assert "Call " in caught.value.detail


def test_a_boot_that_stalls_names_the_phase_it_reached(setup: Setup, tmp_path: Path) -> None:
    stalled = tmp_path / "initramfs"
    sleeper = b"#!/usr/bin/busybox sh\nwhile :; do /usr/bin/busybox sleep 60; done\n"
    stalled.write_bytes(setup.initramfs.read_bytes() + cpio.pack([cpio.file("stall", sleeper, 0o755)]))
    setup = dataclasses.replace(setup, initramfs=stalled, append="rdinit=/stall")
    with (
        pytest.raises(BootError, match="the guest did not boot in time") as caught,
        qemu_guest.boot(setup, tmp_path, deadline=Deadline.after(SOON_S)),
    ):
        pass
    # How far it comes in that time is the host's matter, but init it never reaches.
    reached = Progress()
    for line in (tmp_path / "console.log").read_text(encoding="utf-8", errors="replace").splitlines():
        reached.feed(line)
    assert reached.phase < Phase.INIT
    assert reached.phase.sentence in caught.value.message
    assert (tmp_path / "registers.txt").exists()


HOLDER = """
import sys, time
from pathlib import Path
from toolkit.deadline import Deadline
from toolkit.kernel import arch
from toolkit.rig import machine, template
from toolkit.rig.accelerator import accelerator
from toolkit.rig.console import Phase, Progress
from toolkit.rig.qemu import Setup

loaded = arch.load(sys.argv[1])
setup = Setup(loaded, machine.load(sys.argv[2]), accelerator(loaded), *map(Path, sys.argv[3:5]))
frozen = template.template(setup, deadline=Deadline.after(120))
with template.clone(frozen, Path(sys.argv[5]), deadline=Deadline.after(120)) as guest:
    print(guest.pid, flush=True)
    time.sleep(600)
"""


def test_not_even_sigkill_on_us_leaves_a_guest_behind(frozen: Template, tmp_path: Path) -> None:
    setup = frozen.setup
    script = tmp_path / "holder.py"
    script.write_text(HOLDER, encoding="utf-8")
    words: list[str | Path] = [
        setup.arch.name,
        setup.machine.name,
        setup.kernel,
        setup.initramfs,
        tmp_path,
    ]
    holder = subprocess.Popen(
        [sys.executable, script, *words],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(qemu.__file__).parents[2])},
    )
    with holder:
        assert holder.stdout is not None
        pid = int(holder.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        holder.kill()
    deadline = Deadline.after(SOON_S)
    while running(pid) and not deadline.passed:
        time.sleep(0.05)
    assert not running(pid)


def running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
