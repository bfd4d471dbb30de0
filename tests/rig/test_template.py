# SPDX-License-Identifier: GPL-2.0-only
"""What tells templates apart, where they live, and which go when there are too many."""

from __future__ import annotations

import dataclasses
import fcntl
import os
from pathlib import Path

import pytest

from tests.rig.test_qemu import setup
from toolkit.deadline import Deadline
from toolkit.errors import QemuError
from toolkit.rig import template
from toolkit.rig.qemu import Setup
from toolkit.rig.template import Template
from toolkit.store import Store


@pytest.fixture
def made(tmp_path: Path) -> Setup:
    (tmp_path / "kernel").write_bytes(b"a kernel")
    (tmp_path / "initramfs").write_bytes(b"an initramfs")
    return dataclasses.replace(setup(), kernel=tmp_path / "kernel", initramfs=tmp_path / "initramfs")


@pytest.mark.qemu
def test_a_template_is_told_by_all_that_shapes_its_guest(made: Setup) -> None:
    others = [
        dataclasses.replace(made, append="slub_debug=P"),
        dataclasses.replace(made, machine=dataclasses.replace(made.machine, memory_mib=1024)),
        dataclasses.replace(made, kernel=made.initramfs),
        dataclasses.replace(made, initramfs=made.kernel),
        setup(accelerator="kvm"),
    ]
    others[-1] = dataclasses.replace(others[-1], kernel=made.kernel, initramfs=made.initramfs)
    keys = {template.key(each) for each in (made, *others)}
    assert len(keys) == 1 + len(others)


@pytest.mark.qemu
def test_where_the_same_kernel_lies_makes_no_other_template(made: Setup, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.write_bytes(made.kernel.read_bytes())
    assert template.key(dataclasses.replace(made, kernel=moved)) == template.key(made)


def stored(store: Store, names: str) -> list[Path]:
    """Templates of these one-letter names, the last one used last."""

    def make(into: Path) -> None:
        (into / "lock").touch()

    paths = [store.publish("template", name, make) for name in names]
    for age, path in enumerate(reversed(paths)):
        os.utime(path / "lock", (1e9 - age, 1e9 - age))
    return paths


def test_those_unused_for_longest_go_first(tmp_path: Path) -> None:
    paths = stored(Store(tmp_path), "abcde")
    template.evict(Store(tmp_path), keep=2)
    assert [path.exists() for path in paths] == [False, False, False, True, True]


def test_one_that_a_clone_is_starting_from_stays(tmp_path: Path) -> None:
    paths = stored(Store(tmp_path), "abc")
    with (paths[0] / "lock").open("r") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        template.evict(Store(tmp_path), keep=1)
    assert [path.exists() for path in paths] == [True, False, True]


def test_nothing_goes_from_where_nothing_is(tmp_path: Path) -> None:
    template.evict(Store(tmp_path / "absent"), keep=0)


@pytest.mark.qemu
def test_a_template_that_is_wanted_is_not_the_next_one_to_go(made: Setup, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    wanted = store.publish("template", template.key(made), lambda into: (into / "lock").touch())
    os.utime(wanted / "lock", (1e8, 1e8))
    stored(store, "abc")
    assert template.template(made, deadline=Deadline.after(1.0), store=store).path == wanted
    template.evict(store, 1)
    assert [path.name for path in (store.root / "template").glob("[!.]*")] == [wanted.name]


def test_a_clone_of_an_evicted_template_says_so(made: Setup, tmp_path: Path) -> None:
    gone = Template(made, tmp_path / "gone")
    with (
        pytest.raises(QemuError, match="was evicted"),
        template.clone(gone, tmp_path, deadline=Deadline.after(1.0)),
    ):
        pass


def test_a_directory_of_somebody_else_on_tmpfs_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(template, "_TMPFS", tmp_path)
    own = tmp_path / f"pageless-{os.getuid()}"
    assert template.default_store(memory_mib=1).root == own
    own.chmod(0o777)
    assert template.default_store(memory_mib=1).root == tmp_path / "cache/pageless/store"
    own.rmdir()
    own.symlink_to(tmp_path)
    assert template.default_store(memory_mib=1).root == tmp_path / "cache/pageless/store"


def test_a_guest_too_big_for_tmpfs_goes_to_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(template, "_TMPFS", tmp_path)
    assert template.default_store(memory_mib=1 << 40).root == tmp_path / "cache/pageless/store"
