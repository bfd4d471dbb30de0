# SPDX-License-Identifier: GPL-2.0-only
"""Source packages come from where they are: installed, offered by apt, or in another suite.

apt and dpkg are scripts that say what the real ones said and note how they were called;
the package is a real one.
"""

from __future__ import annotations

import logging
import os
import tarfile
from pathlib import Path

import pytest

from toolkit.deadline import Deadline
from toolkit.errors import HostError, ProgramError, SourceError
from toolkit.kernel import debian, source
from toolkit.kernel.source import KernelSource
from toolkit.run import require, run

POLICY = "{name}:\n  Installed: (none)\n  Candidate: {version}\n  Version table:\n     {version} 500\n"


class FakeApt:
    """Programs in a directory of their own at the head of PATH."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.offered: dict[str, str] = {}
        self.installed = ""
        self.verify = ""
        self.targets = "http://mirror.example/debian bookworm main\n"
        self.update_status = 0
        self.deb: Path | None = None

    @property
    def calls(self) -> list[str]:
        """The command lines so far."""
        log = self.directory / "calls"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def install(self) -> None:
        """Write the programs as the fields now are."""
        policies = "".join(
            f"*' policy {name}') cat <<'EOF'\n{POLICY.format(name=name, version=version)}EOF\n;;\n"
            for name, version in self.offered.items()
        )
        names = "\n".join(self.offered)
        self._write("apt-cache", f"*pkgnames*) echo '{names}';;\n{policies}")
        self._write(
            "apt-get",
            f"*indextargets*) printf '{self.targets}';;\n"
            f"*update*) echo 'no network' >&2; exit {self.update_status};;\n"
            f"*download*) cp '{self.deb}' .;;\n",
        )
        shown = f"printf 'installed {self.installed}'" if self.installed else "exit 1"
        self._write("dpkg-query", f"*) {shown};;\n")
        self._write("dpkg", f"*--verify*) printf '{self.verify}';;\n")

    def _write(self, name: str, cases: str) -> None:
        path = self.directory / name
        path.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {self.directory}/calls\ncase " $*" in\n{cases}esac\n',
            encoding="utf-8",
        )
        path.chmod(0o755)


@pytest.fixture
def apt(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApt:
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    monkeypatch.setattr(debian, "_os_release", lambda: {"VERSION_CODENAME": "bookworm"})
    return FakeApt(directory)


def _package(tmp_path: Path, plain: Path, name: str, version: str) -> Path:
    """A source package of a tree."""
    top = tmp_path / "package"
    (top / "DEBIAN").mkdir(parents=True)
    (top / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: A <a@example.org>\n"
        "Description: x\n",
        encoding="utf-8",
    )
    (top / "usr/src").mkdir(parents=True)
    with tarfile.open(top / f"usr/src/{name}.tar.xz", "w:xz") as archive:
        archive.add(plain, name)
    run([require("dpkg-deb"), "--build", top, tmp_path / f"{name}.deb"], deadline=Deadline.after(60))
    return tmp_path / f"{name}.deb"


def _find(pattern: str, suite: str = "") -> debian.Package:
    return debian.find(pattern, suite, lambda _: None)


def test_the_highest_number_wins_and_other_names_do_not_count(apt: FakeApt) -> None:
    apt.offered = {
        "linux-source": "7.10-1",
        "linux-source-7.9": "7.9.1-1",
        "linux-source-7.10": "7.10.3-1~bpo13+1",
        "linux-source-7.11": "(none)",
        "linux-source-rt": "1",
    }
    apt.install()
    found = _find("linux-source-*")
    assert (found.name, found.version) == ("linux-source-7.10", "7.10.3-1~bpo13+1")


def test_an_installed_package_is_taken_without_asking_apt(apt: FakeApt) -> None:
    apt.installed = "6.1.192-2"
    apt.offered = {"linux-source-6.1": "6.1.999-1"}
    apt.install()
    assert _find("linux-source-6.1") == debian.Package("linux-source-6.1", "6.1.192-2")
    assert not [call for call in apt.calls if call.startswith("apt-cache")]


def test_an_installed_package_that_is_damaged_is_refused(apt: FakeApt) -> None:
    apt.installed = "6.1.192-2"
    apt.verify = "??5??????   /usr/src/linux-source-6.1.tar.xz\\n"
    apt.install()
    with (
        pytest.raises(SourceError, match="is damaged") as caught,
        _find("linux-source-6.1").tarball(lambda _: None),
    ):
        raise AssertionError("not reached")
    assert caught.value.hint == "apt-get install --reinstall linux-source-6.1"


def test_a_downloaded_package_is_imported_once(apt: FakeApt, tmp_path: Path, plain: Path) -> None:
    name, version = "linux-source-6.12", "6.12.117-1~deb12u1"
    apt.offered = {name: version}
    apt.deb = _package(tmp_path, plain, name, version)
    apt.install()
    told: list[str] = []
    tree = source.fetch(KernelSource("6.12", package=name), progress=told.append)
    assert (tree.name, tree.version, tree.package_version) == ("6.12", "6.1.192", version)
    assert told == [f"{word} {name} {version}" for word in ("downloading", "unpacking", "importing")]
    told.clear()
    assert source.fetch(KernelSource("6.12", package=name), progress=told.append) == tree
    assert told == []
    downloads = [call for call in apt.calls if " download " in call]
    assert len(downloads) == 1
    assert downloads[0].startswith(f"apt-get download {name}={version} ")
    assert source.fetch(source.load(str(plain)), progress=told.append).tree_id == tree.tree_id


def test_a_download_that_fails_asks_for_an_update(apt: FakeApt, tmp_path: Path) -> None:
    apt.offered = {"linux-source-6.1": "6.1.1-1"}
    apt.deb = tmp_path / "gone.deb"
    apt.install()
    with pytest.raises(HostError, match=r"cannot download linux-source-6\.1 6\.1\.1-1") as caught:
        source.fetch(KernelSource("6.1", package="linux-source-6.1"), progress=lambda _: None)
    assert "apt-get update, then try again" in caught.value.hint
    assert "gone.deb" in caught.value.detail


def test_another_suite_is_read_with_a_state_of_our_own(apt: FakeApt, cache: Path) -> None:
    apt.offered = {"linux-source-7.3": "7.3.4-1"}
    apt.targets = (
        "http://other.example/x bookworm main\\nhttp://mirror.example/debian bookworm-updates main\\n"
    ).replace("other", "mirror")
    apt.install()
    found = _find("linux-source-*", "trixie-backports")
    state = cache / "apt/trixie-backports"
    assert found.apt is not None
    assert f"Dir::State={state}/state" in found.apt.options
    assert "Dir::Etc::SourceParts=/dev/null" in found.apt.options
    assert (state / "sources.list").read_text(encoding="utf-8") == (
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
        " http://mirror.example/x trixie-backports main\n"
    )
    updates = [call for call in apt.calls if call.endswith(" update")]
    assert len(updates) == 1
    assert f"Dir::State={state}/state" in updates[0]
    # Fresh lists are not fetched again.
    _find("linux-source-*", "trixie-backports")
    assert [call for call in apt.calls if call.endswith(" update")] == updates


def test_where_another_suite_comes_from_is_written_once(apt: FakeApt, cache: Path) -> None:
    """Others ask apt meanwhile: while the file is cut short, it offers them something else."""
    apt.targets = "http://mirror.example/x bookworm main\\n"
    apt.install()
    debian.private("trixie-backports")
    (written,) = cache.rglob("sources.list")
    before = written.stat()
    debian.private("trixie-backports")
    after = written.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    written.write_text("deb elsewhere", encoding="utf-8")
    inode = written.stat().st_ino
    debian.private("trixie-backports")
    assert "trixie-backports main" in written.read_text(encoding="utf-8")
    assert written.stat().st_ino != inode


def test_without_a_network_old_lists_do_and_no_lists_do_not(
    apt: FakeApt, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    apt.offered = {"linux-source-7.3": "7.3.4-1"}
    apt.install()
    _find("linux-source-*", "trixie-backports")
    stamp = cache / "apt/trixie-backports/updated"
    os.utime(stamp, (0, 0))
    apt.update_status = 100
    apt.install()
    with caplog.at_level(logging.WARNING):
        assert _find("linux-source-*", "trixie-backports").version == "7.3.4-1"
    assert "package lists of trixie-backports are kept as they are: no network" in caplog.text
    stamp.unlink()
    with pytest.raises(ProgramError, match="ended with status 100"):
        _find("linux-source-*", "trixie-backports")


def test_a_host_without_lists_gets_private_ones(apt: FakeApt, cache: Path) -> None:
    """First the host's own apt is asked, which knows nothing; then ours, which had an update."""
    apt.install()
    with pytest.raises(SourceError, match=r"offers? no package linux-source-6\.1$") as caught:
        _find("linux-source-6.1")
    assert "give a path to a kernel tree instead" in caught.value.hint
    assert [call for call in apt.calls if call.endswith(" update") and f"{cache}/apt/host/state" in call]


def test_a_host_that_is_not_debian_has_no_mirror(apt: FakeApt) -> None:
    apt.targets = "http://archive.example/ubuntu noble main\\n"
    apt.install()
    with pytest.raises(HostError, match="apt's sources name no mirror of bookworm"):
        _find("linux-source-*", "trixie-backports")
