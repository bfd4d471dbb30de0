# SPDX-License-Identifier: GPL-2.0-only
"""What is made of what a guest tells when it is interrogated."""

from __future__ import annotations

from toolkit.rig.qemu_guest import all_is_idle

BLOCKED = "sysrq: Show Blocked State\n"
LIST = "sysrq: Show backtrace of all active CPUs\n"
IDLE = "sysrq: CPU{}: backtrace skipped as idling\n"
IDLE_TASK = "CPU: 0 PID: 0 Comm: swapper/0 Not tainted 6.1.192 #1\n do_idle+0x21c/0x2a0\n"
BUSY_TASK = "CPU: 0 PID: 54 Comm: sh Not tainted 6.1.192 #1\n el0t_64_irq+0x148/0x14c\n"


def test_a_guest_without_work_is_idle() -> None:
    assert all_is_idle(f"{BLOCKED}{LIST}{IDLE_TASK}{IDLE.format(1)}", cpus=2)


def test_a_blocked_task_or_a_busy_processor_is_work() -> None:
    assert not all_is_idle(f"{BLOCKED}task:dd state:D\n{LIST}{IDLE_TASK}{IDLE.format(1)}", cpus=2)
    assert not all_is_idle(f"{BLOCKED}{LIST}{BUSY_TASK}{IDLE.format(1)}", cpus=2)


def test_what_did_not_come_whole_tells_nothing() -> None:
    assert not all_is_idle(BLOCKED, cpus=1)
    assert not all_is_idle(f"{BLOCKED}{LIST}{IDLE.format(1)}", cpus=2)


def test_a_processor_that_is_told_twice_is_not_taken_for_two() -> None:
    late = f"{BLOCKED}{IDLE.format(1)}{LIST}{BUSY_TASK}{IDLE.format(1)}"
    assert not all_is_idle(late, cpus=2)
    assert not all_is_idle(f"{BLOCKED}{LIST}{IDLE.format(1)}{BLOCKED}{LIST}{IDLE.format(1)}", cpus=2)
