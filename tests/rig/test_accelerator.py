# SPDX-License-Identifier: GPL-2.0-only
"""Whether guests run is found out by running one."""

from __future__ import annotations

import dataclasses
import json
import logging
import platform
from pathlib import Path

import pytest

from toolkit.deadline import Deadline
from toolkit.kernel import arch
from toolkit.rig import accelerator
from toolkit.rig.accelerator import Accelerator

SOON_S = 30.0


@pytest.mark.qemu
@pytest.mark.parametrize("name", arch.names())
def test_the_probes_code_speaks_where_guests_run(name: str) -> None:
    """With TCG, which runs everywhere: so its silence with KVM is KVM's fault."""
    candidate = Accelerator("tcg", "")
    assert accelerator.probe(arch.load(name), candidate, deadline=Deadline.after(SOON_S)) is None


@pytest.mark.qemu
@pytest.mark.parametrize("name", arch.names())
def test_a_guest_that_runs_but_does_nothing_is_told_from_one_that_works(name: str) -> None:
    """Firmware that says the wrong thing, or nothing, is no proof."""
    loaded = arch.load(name)
    silent = dataclasses.replace(loaded, probe_code="00" * len(bytes.fromhex(loaded.probe_code)))
    found = accelerator.probe(silent, Accelerator("tcg", ""), deadline=Deadline.after(1.0))
    assert found == "it hung, or was too slow"


@pytest.mark.qemu
def test_an_accelerator_that_qemu_refuses_fails_with_its_words() -> None:
    found = accelerator.probe(
        arch.load(arch.names()[0]), Accelerator("no-such-thing", ""), deadline=Deadline.after(SOON_S)
    )
    assert found is not None
    assert "no-such-thing" in found


def test_guests_of_a_foreign_architecture_are_emulated_without_a_try() -> None:
    foreign = dataclasses.replace(arch.load(arch.names()[0]), host_machine="none such")
    found = accelerator.accelerator(foreign)
    assert found.emulated
    assert "foreign" in found.why


def native() -> arch.Arch:
    return dataclasses.replace(arch.load(arch.names()[0]), host_machine=platform.machine())


def test_a_host_without_kvm_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(accelerator, "_DEVICE", tmp_path / "kvm")
    monkeypatch.setattr(accelerator, "_announced", set())
    with caplog.at_level(logging.WARNING):
        found = [accelerator.accelerator(native()) for _ in range(2)]
    assert found[0] == Accelerator("tcg", f"{tmp_path / 'kvm'} is not there")
    assert len(caplog.records) == 1


def test_what_was_found_is_kept_until_the_host_boots_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def probe(tested: arch.Arch, candidate: Accelerator, *, deadline: Deadline) -> str | None:
        tried.append(candidate.name)
        return "it does not run"

    boot_id = tmp_path / "boot_id"
    boot_id.write_text("first\n", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(accelerator, "_DEVICE", boot_id)
    monkeypatch.setattr(accelerator, "_BOOT_ID", boot_id)
    monkeypatch.setattr(accelerator, "probe", probe)
    assert accelerator.accelerator(native()) == accelerator.accelerator(native())
    assert tried == ["kvm"]
    boot_id.write_text("second\n", encoding="utf-8")
    assert "it does not run" in accelerator.accelerator(native()).why
    assert tried == ["kvm", "kvm"]


def test_a_damaged_cache_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(accelerator, "_DEVICE", tmp_path)
    monkeypatch.setattr(accelerator, "probe", lambda *_, **__: None)
    assert accelerator.accelerator(native()).name == "kvm"
    (cached,) = (tmp_path / "pageless/accelerator").iterdir()
    assert json.loads(cached.read_text(encoding="utf-8"))["name"] == "kvm"
    cached.write_text("{", encoding="utf-8")
    assert accelerator.accelerator(native()).name == "kvm"
