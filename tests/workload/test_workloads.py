# SPDX-License-Identifier: GPL-2.0-only
"""The workloads on a fake guest: intact content passes, every planted fault is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workload.bench import HostGuest, RecordingBench
from toolkit.errors import CommandError
from toolkit.workload import catalogue

# Those that a file can stand in for; the rest need a kernel.
ON_A_DISK = ("churn", "fill", "reset", "zram-compact")

MakeBench = Callable[..., RecordingBench]


@pytest.fixture
def make_bench(programs: Path, tmp_path: Path) -> MakeBench:
    def make(**guest: object) -> RecordingBench:
        return RecordingBench(HostGuest(tmp_path / "guest", programs, **guest))  # type: ignore[arg-type]  # passed on

    return make


@pytest.mark.parametrize("name", ON_A_DISK)
def test_intact_content_passes_and_meets_the_floors(name: str, make_bench: MakeBench) -> None:
    workload = catalogue.load(name)
    bench = make_bench()
    workload.exercise(bench)
    assert bench.failed == {}
    assert any(check.startswith("content/") for check in bench.checks)
    assert {
        floor: bench.counts[floor]
        for floor in workload.floors
        if bench.counts[floor] < workload.floors[floor]
    } == {}
    assert bench.guest.devices == []
    assert bench.checkpoints
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in bench.checkpoints)
    assert len(set(bench.checkpoints)) == len(bench.checkpoints)


@pytest.mark.parametrize("name", ON_A_DISK)
def test_a_byte_that_changed_at_rest_fails_the_content(name: str, make_bench: MakeBench) -> None:
    flip = "printf wrong | dd of=/dev/zram1 bs=1 seek=70007 conv=notrunc 2>/dev/null"
    bench = make_bench(sabotage={"zblk verify": flip})
    catalogue.load(name).exercise(bench)
    content = [seen for check, seen in bench.failed.items() if check.startswith("content/")]
    assert content
    assert all("slot 17" in seen for seen in content)


@pytest.mark.parametrize(
    ("column", "lie", "check"),
    [
        (0, 4096, "orig_data_size"),
        (1, -400_000, "compr_data_size"),
        (5, 1, "same_pages"),
        (7, -700, "huge_pages"),
    ],
)
def test_wrong_accounting_is_told(column: int, lie: int, check: str, make_bench: MakeBench) -> None:
    lies = [0] * 8
    lies[column] = lie
    bench = make_bench(lies=lies)
    catalogue.load("fill").exercise(bench)
    assert {failed.rpartition("/")[2] for failed in bench.failed} == {check}


def test_pages_that_compaction_claims_but_keeps_are_told(make_bench: MakeBench) -> None:
    bench = make_bench(compaction_frees=False)
    catalogue.load("zram-compact").exercise(bench)
    assert "accounting/halved/pages_compacted" in bench.failed


@pytest.mark.parametrize("name", ["fill", "reset"])
def test_pages_left_behind_are_told(name: str, make_bench: MakeBench) -> None:
    bench = make_bench(leaks=3)
    catalogue.load(name).exercise(bench)
    assert "residue/removed" in bench.failed
    assert all(check.startswith("residue/") for check in bench.failed)


@pytest.mark.parametrize("name", ["churn", "fill"])
def test_an_io_error_is_a_failed_check_and_the_device_is_removed(name: str, make_bench: MakeBench) -> None:
    bench = make_bench(sabotage={"zblk write": "ln -sf /dev/full /dev/zram1"})
    with pytest.raises(CommandError, match="ended with status 3") as caught:
        catalogue.load(name).exercise(bench)
    assert "No space left on device" in caught.value.detail
    assert [check for check in bench.failed if check.startswith("io/")]
    assert bench.guest.devices == []
