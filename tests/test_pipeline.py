# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel that was prepared can run."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.kernel.build import BuiltKernel
from toolkit.kernel.source import Tree
from toolkit.pipeline import Prepared, patient
from toolkit.workload import Bench, workload


@workload(suites=[], deadline_s=1, single_threaded=True, needs=["ZRAM", "ZSWAP", "CMA"], before=(6, 12))
def of_old(bench: Bench) -> None:
    """Of a kernel's code before 6.12."""


@pytest.mark.parametrize(
    ("version", "options", "why"),
    [
        ("6.1.192", "ZRAM ZSWAP CMA", ""),
        ("6.1.192", "ZSWAP", "the kernel has no ZRAM, CMA"),
        ("6.12.1", "ZRAM ZSWAP CMA", "it is made for the code of kernels before 6.12"),
        ("7.0.0-rc1", "ZRAM", "it is made for the code of kernels before 6.12"),
    ],
)
def test_a_workload_that_does_not_fit_a_kernel_is_told_why(
    version: str, options: str, why: str, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("".join(f"CONFIG_{option}=y\n" for option in options.split()))
    tree = Tree("some", version, "", tmp_path, "commit", "tree")
    prepared = Prepared(tree, BuiltKernel(tmp_path, tmp_path / "image", version, "key"))
    assert prepared.unfit(of_old) == why


@pytest.mark.parametrize(("watched", "factor"), [("", 1), ("PROVE_LOCKING", 2), ("KASAN", 4)])
def test_a_kernel_that_watches_what_it_does_has_more_time(tmp_path: Path, watched: str, factor: int) -> None:
    @workload(suites=[], deadline_s=60, single_threaded=True)
    def exercise(bench: Bench) -> None:
        """Whatever."""

    kernel = BuiltKernel(tmp_path, tmp_path / "image", "6.1.192", "key")
    chosen = f"CONFIG_{watched}=y\n" if watched else ""
    kernel.config.write_text(f"CONFIG_ZRAM=y\n{chosen}", encoding="utf-8")
    assert patient(exercise, kernel).deadline_s == 60 * factor
