# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel that was prepared can run."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.kernel.build import BuiltKernel
from toolkit.kernel.source import Tree
from toolkit.pipeline import Prepared
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
