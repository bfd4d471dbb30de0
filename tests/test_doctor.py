# SPDX-License-Identifier: GPL-2.0-only
"""What the host lacks is told, with the one command that mends it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from toolkit import doctor
from toolkit.errors import InputError
from toolkit.kernel import arch as arches


def test_on_a_bare_host_every_program_is_missing_and_a_package_mends_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = [finding for finding in doctor.examine() if not finding.ok]
    assert {"make", "gcc", "git", "flex", "bison"} <= {finding.name for finding in missing}
    assert all(finding.package for finding in missing if "/" not in finding.found)
    packages = doctor.missing_packages(missing)
    for arch in map(arches.load, arches.names()):
        assert arch.qemu_package in packages
    assert doctor.install_command(packages)[:3] == ("apt-get", "install", "-y")


def test_a_package_is_asked_for_once() -> None:
    findings = [doctor.Finding("gcc", False, "", "gcc"), doctor.Finding("g++", False, "", "gcc")]
    assert doctor.missing_packages(findings) == ("gcc",)
    assert doctor.missing_packages([doctor.Finding("gcc", True, "/usr/bin/gcc", "gcc")]) == ()


def test_only_root_installs_and_others_are_told_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(InputError, match="needs root") as caught:
        doctor.install(("make",), print)
    assert caught.value.hint == "sudo apt-get install -y --no-install-recommends make"
