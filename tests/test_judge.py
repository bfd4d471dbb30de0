# SPDX-License-Identifier: GPL-2.0-only
"""Judging recorded evidence: what a good run passes, and what each change to it is found by."""

from __future__ import annotations

import datetime
import re
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from toolkit import judge, saved
from toolkit.evidence import Ending, Evidence, Facts
from toolkit.verdict import Check, Status, Verdict
from toolkit.workload.memory import STAT_REFRESH

RECORDED = Path(__file__).parent / "data" / "evidence"
TODAY = datetime.date(2026, 11, 23)

Recorded = Callable[[str], Evidence]


def unpack_to(name: str, directory: Path) -> Evidence:
    with tarfile.open(RECORDED / f"{name}.tar.xz") as archive:
        # Python 3.11.4 and later want to be told what to trust; 3.11.2 does not know how.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(directory)
    return Evidence(directory)


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    """A copy of a recorded cell that a test may change."""

    def unpack(name: str) -> Evidence:
        return unpack_to(name, tmp_path / name)

    return unpack


@pytest.fixture
def compacted(recorded: Recorded) -> Evidence:
    """One thread, exact: zram-compact on arm64."""
    return recorded("zram-compact-arm64")


def verdict(evidence: Evidence) -> Verdict:
    return judge.judge(evidence, (), TODAY)[0]


def bad(evidence: Evidence) -> set[str]:
    """Without what is skipped: the recording is older than the probes under the lock."""
    fine = (Status.PASS, Status.SKIP)
    return {check.name for check in verdict(evidence).checks if check.status not in fine}


def checked(evidence: Evidence, name: str) -> Check:
    return next(check for check in verdict(evidence).checks if check.name == name)


def change(evidence: Evidence, **facts: object) -> None:
    saved.write(evidence.facts_file, replace(saved.read(Facts, evidence.facts_file), **facts))  # type: ignore[arg-type]  # by name


def edit(path: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, path.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
    assert count == 1
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    "name", [path.name.removesuffix(".tar.xz") for path in sorted(RECORDED.glob("*.xz"))]
)
def test_the_evidence_of_a_good_run_passes(recorded: Recorded, name: str) -> None:
    found = verdict(recorded(name))
    assert found.status is Status.PASS, found.decisive
    assert len(found.checks) > 25


def test_a_single_threaded_run_is_compared_exactly_and_a_concurrent_one_says_how_much_is(
    recorded: Recorded, compacted: Evidence
) -> None:
    def summary(evidence: Evidence, name: str) -> str:
        return next(check.summary for check in verdict(evidence).checks if check.name == name)

    assert summary(compacted, "model/pages_used") == "690 values, 690 of them exact: all as expected"
    concurrent = recorded("fragment-and-compact-x86_64")
    assert summary(concurrent, "model/obj_used") == "138 values, 138 of them exact: all as expected"
    assert " 138 of them exact" not in summary(concurrent, "model/pages_used")


def test_the_class_tables_of_pools_that_are_no_zram_devices_are_compared_too(recorded: Recorded) -> None:
    evidence = recorded("drive-x86_64")
    checks = {check.name: check for check in verdict(evidence).checks}
    assert "model/obj_used" in checks
    # Which is in mm_stat, and so with a device.
    assert "model/pages_compacted" not in checks
    table = evidence.checkpoint("driven") / "sys/kernel/debug/zsmalloc/zsdrive0/classes"
    edit(table, r"^(\s+0\s+32\s+0\s+1\s+128\s+)13\b", r"\g<1>14")
    edit(table, r"^(\s*Total\s+\d+\s+\d+\s+\d+\s+)186\b", r"\g<1>187")
    assert "model/obj_used" in bad(evidence)


def test_an_object_more_in_the_class_table_is_found_and_named(compacted: Evidence) -> None:
    table = compacted.checkpoint("halved") / "sys/kernel/debug/zsmalloc/zram1/classes"
    lines = table.read_text(encoding="utf-8").splitlines()
    words = next(line.split() for line in lines if line.split()[1:2] == ["2048"])
    used = int(words[5])
    total = int(lines[-1].split()[4])
    edit(table, rf"^(\s*{words[0]}\s+2048\s+\d+\s+\d+\s+\d+\s+){used}\b", rf"\g<1>{used + 1}")
    edit(table, rf"^(\s*Total\s+\d+\s+\d+\s+\d+\s+){total}\b", rf"\g<1>{total + 1}")
    found = {check.name: check for check in verdict(compacted).checks if check.status is Status.FAIL}
    assert {"model/obj_used", "model/objects", "invariants"} <= found.keys()
    assert found["model/obj_used"].summary == (
        f"halved, zram1, class 2048: obj_used expected {used}, seen {used + 1}"
    )


def test_pages_that_stay_behind_are_a_leak(compacted: Evidence) -> None:
    edit(compacted.checkpoint("end") / "proc/vmstat", r"^nr_zspages 0$", "nr_zspages 1")
    assert bad(compacted) == {"leak/nr_zspages", "invariants"}


def test_zspages_that_are_counted_in_a_zone_that_they_left_are_told(compacted: Evidence) -> None:
    edit(compacted.checkpoint("end") / "proc/zoneinfo", r"^(\s+nr_zspages\s+)0$", r"\g<1>3")
    assert bad(compacted) == {"leak/zones", "invariants"}


def test_pages_that_stay_isolated_are_told(compacted: Evidence) -> None:
    edit(compacted.checkpoint("end") / "proc/vmstat", r"^nr_isolated_anon 0$", "nr_isolated_anon 7")
    assert bad(compacted) == {"leak/isolated"}


def test_a_pageblock_that_stays_isolated_is_told(compacted: Evidence) -> None:
    edit(compacted.checkpoint("end") / "proc/pagetypeinfo", r"^(Node 0, .* 0 +)0 $", r"\g<1>1 ")
    assert bad(compacted) == {"leak/pageblocks"}


def test_a_shrinker_that_counts_other_pages_than_the_classes_is_told(compacted: Evidence) -> None:
    count = compacted.checkpoint("halved") / "sys/kernel/debug/shrinker/mm-zspool:zram1-24/count"
    count.parent.mkdir(parents=True)
    count.write_text("1 1000000\n", encoding="utf-8")
    index = compacted.checkpoint("halved") / "snapshot.json"
    edit(index, r'"files": \[', f'"files": ["/{count.relative_to(compacted.checkpoint("halved"))}", ')
    assert bad(compacted) == {"invariants"}


def test_free_pages_that_are_counted_and_are_on_no_list_are_told(compacted: Evidence) -> None:
    edit(compacted.checkpoint("end") / "proc/zoneinfo", r"^(\s+nr_free_cma\s+)0$", r"\g<1>2001")
    assert bad(compacted) == {"counters/free"}


def test_a_pool_that_stays_is_told_unless_the_workload_knows_of_it(compacted: Evidence) -> None:
    table = "/sys/kernel/debug/zsmalloc/zram1/classes"
    text = (compacted.checkpoint("emptied") / table[1:]).read_text(encoding="utf-8")
    left = compacted.checkpoint("end") / table[1:]
    left.parent.mkdir(parents=True)
    left.write_text(text, encoding="utf-8")
    edit(compacted.checkpoint("end") / "snapshot.json", r'"files": \[', f'"files": ["{table}",')
    assert bad(compacted) == {"leak/pools", "model/pools"}
    change(compacted, counters={**saved.read(Facts, compacted.facts_file).counters, "pools_kept": 1})
    assert bad(compacted) == {"model/pools"}


@pytest.mark.parametrize("counter", ["pgmigrate_success", "pgmigrate_fail"])
@pytest.mark.parametrize("amount", [-1000, 1000])
def test_migrations_that_the_counters_do_not_have_as_they_were_are_told(
    recorded: Recorded, counter: str, amount: int
) -> None:
    evidence = recorded("fragment-and-compact-x86_64")
    assert "migration/counted" not in bad(evidence)
    vmstat = evidence.checkpoint("end") / "proc/vmstat"
    text = vmstat.read_text(encoding="utf-8")
    seen = int(re.search(rf"^{counter} (\d+)$", text, re.MULTILINE)[1])  # type: ignore[index]
    edit(vmstat, rf"^{counter} \d+$", f"{counter} {seen + amount}")
    check = checked(evidence, "migration/counted")
    assert check.status is Status.FAIL
    assert counter in check.summary


def test_compaction_that_ends_before_its_scanners_meet_is_told_unless_it_was_killed(
    recorded: Recorded, compacted: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "compaction/contended"
    assert name not in {check.name for check in verdict(compacted).checks}
    evidence = recorded("fragment-and-compact-x86_64")
    assert checked(evidence, name).status is Status.PASS
    # All of them ended where their scanners met (COMPACT_COMPLETE).
    monkeypatch.setattr(judge, "_COMPACT_CONTENDED", 5)
    told = checked(evidence, name)
    assert (told.status, told.expected) == (Status.FAIL, "at most 0")
    change(evidence, counters={**saved.read(Facts, evidence.facts_file).counters, "compactions_killed": 99})
    assert checked(evidence, name).status is Status.PASS


def test_a_counter_that_stays_below_zero_is_told(compacted: Evidence) -> None:
    line = "[   12.0000{}] vmstat_refresh: nr_isolated_file -{}\n"
    with compacted.console_log.open("a", encoding="utf-8") as console:
        console.write(line.format(10, 3))
    # The recording is older than what tells that the kernel was asked.
    assert checked(compacted, "counters").status is Status.SKIP
    index = compacted.checkpoint("end") / "snapshot.json"
    edit(index, r'"files": \[', f'"files": ["{STAT_REFRESH}",')
    refresh = compacted.checkpoint("end") / STAT_REFRESH[1:]
    refresh.parent.mkdir(parents=True)
    refresh.touch()
    assert checked(compacted, "counters").status is Status.PASS
    with compacted.console_log.open("a", encoding="utf-8") as console:
        console.write(line.format(20, 5))
    assert bad(compacted) == {"counters"}
    assert checked(compacted, "counters").summary == "nr_isolated_file was -3, -5"


def test_pages_that_nobody_has_any_more_are_a_leak(compacted: Evidence) -> None:
    zones = compacted.checkpoint("end") / "proc/zoneinfo"
    free = int(re.findall(r"pages free +(\d+)", zones.read_text(encoding="utf-8"))[0])
    edit(zones, rf"pages free +{free}$", f"pages free {free - 200}")
    assert bad(compacted) == set()
    edit(zones, rf"pages free +{free - 200}$", f"pages free {free - 400}")
    assert bad(compacted) == {"leak/pages"}


@pytest.mark.parametrize("name", ["zs_handle", "zspage", "zs_handle-zram0", "zspage-zram0"])
def test_objects_that_stay_in_a_slab_are_a_leak(compacted: Evidence, name: str) -> None:
    """6.12 has them for each pool."""
    line = f"{name}  3  3  8  512  1 : tunables  0  0  0 : slabdata  1  1  0\n"
    edit(compacted.checkpoint("end") / "proc/slabinfo", r"\Z", line)
    assert bad(compacted) == {"leak/slabs"}


def test_a_run_in_which_no_slab_of_zsmalloc_was_seen_proves_nothing_of_leaks(compacted: Evidence) -> None:
    for table in compacted.directory.glob("checkpoints/*/proc/slabinfo"):
        text = table.read_text(encoding="utf-8")
        table.write_text(re.sub(r"^(zs_handle|zspage) .*\n", "", text, flags=re.MULTILINE), encoding="utf-8")
    assert verdict(compacted).status is Status.ERROR
    assert bad(compacted) == {"leak/slabs"}


def test_a_floor_that_is_not_met_is_an_error_not_a_pass(compacted: Evidence) -> None:
    change(compacted, floors={"zs_page_migrate": 1})
    assert bad(compacted) == {"floor/zs_page_migrate"}
    assert verdict(compacted).status is Status.ERROR


def test_a_floor_for_what_the_kernel_does_not_do_is_not_held_against_it(compacted: Evidence) -> None:
    change(compacted, floors={"async_free_zspage": 1})
    assert bad(compacted) == {"floor/async_free_zspage"}
    edit(compacted.trace / "files/snapshot.json", r'"[^"]*/async_free_zspage/format",', "")
    (floor,) = [check for check in verdict(compacted).checks if check.name == "floor/async_free_zspage"]
    assert floor.status is Status.SKIP
    change(compacted, floors={"no_such_probe": 1})
    assert bad(compacted) == {"floor/no_such_probe"}


def test_a_lost_trace_event_is_an_error(compacted: Evidence) -> None:
    edit(compacted.trace / "files/sys/kernel/tracing/per_cpu/cpu0/stats", r"^overrun: 0$", "overrun: 7")
    assert bad(compacted) == {"trace"}


def test_a_warning_on_the_console_fails_the_run_with_its_report(compacted: Evidence) -> None:
    with compacted.console_log.open("a", encoding="utf-8") as console:
        console.write("[   12.000000] Freeing non-empty class with size 48, fullness group 3\n")
    (found,) = [check for check in verdict(compacted).checks if check.status is Status.FAIL]
    assert found.name == "health"
    assert "Freeing non-empty class" in found.seen


def test_a_lost_capture_is_an_error_that_names_it(compacted: Evidence) -> None:
    (compacted.checkpoint("halved") / "snapshot.json").unlink()
    (found,) = [check for check in verdict(compacted).checks if check.status is Status.ERROR]
    assert found.name == "evidence"
    assert "halved" in found.summary


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        (Ending.OOPS, Status.CRASH),
        (Ending.HUNG, Status.CRASH),
        (Ending.FAILED, Status.FAIL),
        (Ending.LOST, Status.ERROR),
        (Ending.UNBUILT, Status.ERROR),
        (Ending.UNREACHED, Status.ERROR),
    ],
)
def test_how_a_cell_ended_decides_when_nothing_else_can_be_said(
    compacted: Evidence, ending: Ending, status: Status
) -> None:
    change(compacted, ending=ending, trouble="it ended so")
    assert verdict(compacted).status is status
    assert [check.summary for check in verdict(compacted).decisive] == ["it ended so"]


def test_a_skipped_cell_is_a_skip_with_its_reason(recorded: Recorded, tmp_path: Path) -> None:
    facts = saved.read(Facts, recorded("zram-compact-arm64").facts_file)
    evidence = Evidence(tmp_path)
    saved.write(
        evidence.facts_file,
        replace(facts, ending=Ending.SKIPPED, trouble="the kernel has no ZRAM", checks=()),
    )
    assert verdict(evidence).status is Status.SKIP


def test_twins_that_differ_fail_the_check_across_and_equal_ones_pass(
    recorded: Recorded, tmp_path: Path
) -> None:
    one = judge.Case(recorded("zram-compact-arm64"))
    same = [("key", "none", "arm64", one), ("key", "none", "x86_64", one)]
    assert [check.status for check in judge.across(same)] == [Status.PASS]
    other = unpack_to("zram-compact-arm64", tmp_path / "other")
    table = "sys/kernel/debug/zsmalloc/zram1/classes"
    (other.checkpoint("halved") / table).write_text(
        (other.checkpoint("filled") / table).read_text(encoding="utf-8"), encoding="utf-8"
    )
    (found,) = judge.across([("key", "none", "arm64", one), ("key", "mine", "arm64", judge.Case(other))])
    assert found.status is Status.FAIL
    assert found.name == "baseline/key 4096"
    assert "at halved differ" in found.summary
