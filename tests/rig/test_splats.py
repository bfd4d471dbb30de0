# SPDX-License-Identifier: GPL-2.0-only
"""Complaints of a kernel are found, whole, and named the same in the next run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from toolkit.rig.splats import Kind, Report, alarm, find_reports

CONSOLES = Path(__file__).parents[1] / "data" / "console"


def recorded(name: str) -> str:
    return (CONSOLES / f"{name}.txt").read_text(encoding="utf-8")


def only(text: str) -> Report:
    (report,) = find_reports(text)
    return report


def test_a_kasan_report_reaches_from_ruler_to_ruler() -> None:
    report = only(recorded("kasan-uaf"))
    lines = report.text.splitlines()
    assert report.kind is Kind.SPLAT
    assert lines[0].endswith("=" * 66)
    assert lines[-1].endswith("=" * 66)
    assert report.line == 2
    assert report.title == "BUG: KASAN: use-after-free in async_free_zspage+0x2b1/0x4d0"
    assert report.fingerprint == (
        "BUG: KASAN: use-after-free in async_free_zspage"
        " < async_free_zspage < process_one_work < worker_thread"
    )


def test_an_oops_is_one_report_and_the_panic_after_it_another() -> None:
    oops, panic = find_reports(recorded("oops-x86_64"))
    assert (oops.kind, panic.kind) == (Kind.OOPS, Kind.PANIC)
    assert oops.frames == ("zs_page_migrate", "move_to_new_folio", "migrate_pages", "compact_zone")
    assert oops.text.splitlines()[-1].endswith("---[ end trace 0000000000000000 ]---")
    assert "Oops: 0000" in oops.text
    assert panic.text.splitlines()[-1].endswith("---[ end Kernel panic - not syncing: Fatal exception ]---")


def test_half_a_line_of_user_space_before_the_stamp_hides_no_report() -> None:
    assert recorded("oops-x86_64").splitlines()[1].startswith("# [")
    assert find_reports(recorded("oops-x86_64"))[0].line == 1


def test_a_bug_between_cut_here_and_end_trace_is_an_oops() -> None:
    report = only(recorded("bug-arm64"))
    assert report.kind is Kind.OOPS
    assert report.title == "kernel BUG at mm/zsmalloc.c:1990!"
    assert report.frames[:2] == ("zs_page_isolate", "isolate_movable_page")
    assert report.text == recorded("bug-arm64").rstrip("\n")


def test_a_fingerprint_names_the_stack_of_the_last_step_not_of_an_older_chain() -> None:
    report = only(recorded("lockdep-circular"))
    assert report.fingerprint == (
        "WARNING: possible circular locking dependency detected < _raw_spin_lock < zs_free < zram_free_page"
    )
    assert report.text.splitlines()[0].endswith("=" * 54)
    assert report.text.splitlines()[-1].endswith("</TASK>")


def test_the_sentence_of_a_warning_is_its_title() -> None:
    report = only(recorded("refcount-warn"))
    assert report.kind is Kind.SPLAT
    assert report.fingerprint == "refcount_t: underflow; use-after-free. < free_zspage < zs_compact"


def test_a_warning_without_a_sentence_is_named_by_file_and_function() -> None:
    report = only(recorded("warn-location"))
    assert report.fingerprint == (
        "WARNING: at mm/zsmalloc.c __free_zspage < __free_zspage < zs_free < zram_free_page"
    )


def test_lockups_and_stalls_are_a_class_of_their_own_and_a_blocked_task_is_hung() -> None:
    lockup, stall, hung = find_reports(recorded("slow-and-hung"))
    assert (lockup.kind, stall.kind, hung.kind) == (Kind.SLOW_HOST, Kind.SLOW_HOST, Kind.HUNG)
    assert lockup.fingerprint.startswith("watchdog: BUG: soft lockup - CPU stuck for N!")
    assert (
        hung.fingerprint == "INFO: task blocked for more than N seconds. < __schedule < folio_wait_bit_common"
    )


@pytest.mark.parametrize("path", sorted(CONSOLES.glob("*.txt")), ids=lambda path: path.stem)
def test_the_fingerprint_survives_other_times_addresses_and_processes(path: Path) -> None:
    before = path.read_text(encoding="utf-8")
    after = re.sub(r"\[ *\d+\.\d{6}\]", "[ 7777.123456]", before)
    after = re.sub(r"ffff8880\w{8}", "ffff888012345678", after)
    after = re.sub(r"\+0x[0-9a-f]+/0x", "+0x1234/0x", after)
    after = re.sub(r"PID: \d+", "PID: 4242", after)
    after = re.sub(r"CPU(:?[ #])\d", r"CPU\g<1>7", after)
    assert after != before
    expected = [report.fingerprint for report in find_reports(before)]
    assert expected
    assert [report.fingerprint for report in find_reports(after)] == expected


def test_a_second_banner_is_a_reboot() -> None:
    banner = "[    0.000000] Linux version 6.1.192 (a@b) #1 SMP\n"
    assert find_reports(banner) == ()
    report = only(banner + "[    1.000000] Run /init as init process\n" + banner)
    assert report.kind is Kind.REBOOT
    assert report.line == 2


@pytest.mark.parametrize(
    "line",
    [
        "[    1.000000] Command line: panic=-1 slub_debug=FZ BUG=1",
        "[    1.000000] x86/mm: checked W+X mappings: passed, no W+X pages found, no BUG.",
        "WARNING: dropbear could not open /dev/random",
        "[    1.000000] clocksource: timekeeping watchdog on CPU0: Marking clocksource 'tsc' as unstable",
        "[    1.000000] DEBUG: nothing",
        "[    1.000000] rcu: 	Tracing variant of Tasks RCU enabled.",
        "[    1.000000] rcu: RCU event tracing is enabled.",
        "[    1.000000] Warning: unable to open an initial console.",
    ],
)
def test_what_only_looks_like_a_complaint_is_none(line: str) -> None:
    assert find_reports("[    0.500000] hello\n" + line) == ()


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("[    1.0] x", None),
        ("[    1.000000] BUG: Bad page state in process sh  pfn:04a1b", Kind.SPLAT),
        ("[    1.000000] dd: page allocation failure: order:0, mode:0x0(), nodemask=(null)", Kind.SPLAT),
        ("[    1.000000] list_del corruption. prev->next should be ffff, but was 0", Kind.SPLAT),
        ("[    1.000000] zsmalloc: Freeing non-empty class size 32, fullness group 2", Kind.SPLAT),
        ("[    1.000000] BUG zspage (Not tainted): Objects remaining in zspage on shutdown", Kind.SPLAT),
        ("[    1.000000] unreferenced object 0xffff888004a1b048 (size 56):", Kind.SPLAT),
        ("[    1.000000] WARNING: suspicious RCU usage", Kind.SPLAT),
        ("[    1.000000] UBSAN: shift-out-of-bounds in mm/zsmalloc.c:801:30", Kind.SPLAT),
        ("[    1.000000] general protection fault, probably for non-canonical address 0xdead", Kind.OOPS),
        ("[    1.000000] Unable to handle kernel paging request at virtual address 00c0ff", Kind.OOPS),
        ("[    1.000000] Internal error: Oops: 96000004 [#1] SMP", Kind.OOPS),
        ("[    1.000000][    C1] watchdog: Watchdog detected hard LOCKUP on cpu 1", Kind.HUNG),
        ("[    1.000000] rcu: INFO: rcu_sched self-detected stall on CPU\r\n", Kind.SLOW_HOST),
        ("[    1.000000] Kernel panic - not syncing: sysrq triggered crash", Kind.PANIC),
    ],
)
def test_the_first_line_of_a_report_raises_the_alarm(line: str, kind: Kind | None) -> None:
    assert alarm(line) is kind
    assert [report.kind for report in find_reports(line)] == ([] if kind is None else [kind])


def test_a_complaint_without_a_stack_does_not_swallow_the_next_ones_stack() -> None:
    text = (
        "[    1.000000] WARNING: something small\n"
        "[    1.100000] calm line\n"
        "[    2.000000] BUG: sleeping function called from invalid context at mm/zsmalloc.c:1229\n"
        "[    2.000100] Call Trace:\n"
        "[    2.000200]  zs_map_object+0x1/0x2\n"
    )
    small, sleeping = find_reports(text)
    assert small.text == "[    1.000000] WARNING: something small"
    assert sleeping.fingerprint == (
        "BUG: sleeping function called from invalid context at mm/zsmalloc.c < zs_map_object"
    )
