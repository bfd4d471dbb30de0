# SPDX-License-Identifier: GPL-2.0-only
"""What a change asks for."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from toolkit import watch
from toolkit.errors import InputError
from toolkit.watch import Affected, Watched
from toolkit.workload import catalogue


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    (tmp_path / "tree").mkdir()
    (tmp_path / "series").mkdir()
    return Watched(tmp_path / "tree", tmp_path / "series", catalogue.directory().resolve())


def test_an_edit_of_zsmalloc_is_simulated_and_run(watched: Watched) -> None:
    assert watched.tree is not None
    changed = [watched.tree / "mm" / "zsmalloc.c"]
    assert watched.affected(changed, "smoke") == Affected(True, ("smoke",))


def test_an_edit_elsewhere_in_the_tree_needs_no_simulation(watched: Watched) -> None:
    assert watched.tree is not None
    assert watched.affected([watched.tree / "mm" / "migrate.c"], "smoke") == Affected(False, ("smoke",))


def test_an_edit_of_the_series_is_simulated_and_run(watched: Watched) -> None:
    assert watched.series is not None
    assert watched.affected([watched.series / "6.1" / "0001-x.patch"], "quick") == Affected(True, ("quick",))


def test_an_edit_of_one_workload_runs_that_alone(watched: Watched) -> None:
    changed = [watched.workloads / "swap.py"]
    assert watched.affected(changed, "smoke") == Affected(False, ("swap",))


def test_a_workload_of_the_suite_that_runs_anyway_is_not_run_twice(watched: Watched) -> None:
    assert watched.tree is not None
    changed = [watched.workloads / "fill.py", watched.tree / "mm" / "migrate.c"]
    assert watched.affected(changed, "quick").workloads == ("quick",)


@pytest.mark.parametrize("name", ["mm/zsmalloc.o", ".git/index", "mm/.zsmalloc.c.swp", "mm/zsmalloc.c~"])
def test_what_nobody_wrote_does_not_matter(watched: Watched, name: str) -> None:
    assert not watched.matters(Path("/tree") / name)


def test_a_packaged_kernel_without_a_series_has_nothing_to_watch() -> None:
    with pytest.raises(InputError, match="files that can change"):
        Watched.of("6.1", "none")


def test_a_written_file_is_seen(watched: Watched) -> None:
    pytest.importorskip("watchfiles")
    assert watched.tree is not None
    file = watched.tree / "mm.c"
    done = threading.Event()

    def write() -> None:
        # Again and again: the watch begins at a moment that nobody tells.
        while not done.is_set():
            file.write_text(str(time.monotonic()), encoding="utf-8")
            done.wait(0.2)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert file.resolve() in next(watch.changes(watched))
    finally:
        done.set()
        writer.join()
