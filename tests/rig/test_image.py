# SPDX-License-Identifier: GPL-2.0-only
"""What goes into the guest's image, from files of a test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit import places
from toolkit.deadline import Deadline
from toolkit.errors import BuildError, HostError
from toolkit.render import render
from toolkit.rig import image, packages
from toolkit.run import run

SOON_S = 120.0


def placed(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def test_files_of_packages_old_and_new_meet_below_usr(tmp_path: Path) -> None:
    """Debian moved /bin, /lib and so on below /usr package by package."""
    placed(tmp_path, "bin/busybox", "lib64/ld.so", "usr/sbin/dropbear", "etc/motd")
    found = image._merged_files(tmp_path)
    assert list(found) == ["usr/bin/busybox", "etc/motd", "usr/lib64/ld.so", "usr/sbin/dropbear"]
    assert found["usr/bin/busybox"].read_bytes() == b"bin/busybox"


def test_a_program_that_debian_no_longer_ships_is_named(tmp_path: Path) -> None:
    files = image._merged_files(placed(tmp_path, "bin/other"))
    with pytest.raises(HostError, match="hold no usr/bin/busybox"):
        image._with_libraries(["usr/bin/busybox"], files, Deadline.after(SOON_S))


def test_a_program_comes_with_what_it_is_linked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = {
        "tool": ["liba.so.1"],
        "liba.so.1": ["libb.so.2", "ld.so"],
        "libb.so.2": ["liba.so.1"],
        "ld.so": [],
    }
    monkeypatch.setattr(image, "_needed", lambda binary, deadline: needs[binary.name])
    placed(tmp_path, "bin/tool", "lib/x/liba.so.1", "usr/lib/x/libb.so.2", "lib/ld.so", "lib/x/libc.so.6")
    wanted = image._with_libraries(["usr/bin/tool"], image._merged_files(tmp_path), Deadline.after(SOON_S))
    assert wanted == {"usr/bin/tool", "usr/lib/x/liba.so.1", "usr/lib/x/libb.so.2", "usr/lib/ld.so"}


def test_a_guest_program_that_does_not_compile_shows_the_compilers_words(tmp_path: Path) -> None:
    source = tmp_path / "broken.c"
    source.write_text("int main(void) { return undeclared; }\n", encoding="utf-8")
    with pytest.raises(BuildError, match=r"broken\.c does not compile") as caught:
        image.compile_program(source, tmp_path, "gcc", Deadline.after(SOON_S))
    assert "undeclared" in caught.value.detail


def test_every_guest_program_has_a_name_that_busybox_does_not_take() -> None:
    stems = {path.stem for path in image.guest_sources() if path.suffix == ".c"}
    assert {"put", "awaken"} <= stems
    assert not stems & {"cat", "sh", "mount", "init", "ip", "dd"}


def test_the_init_script_is_one_that_a_shell_accepts(tmp_path: Path) -> None:
    script = tmp_path / "init"
    script.write_text(
        render(
            places.declared("rigs") / "guest" / "init.j2",
            marker=image.MARKER,
            address=image.ADDRESS,
            host_address=image.HOST_ADDRESS,
            ssh_port=image.SSH_PORT,
            hostname="test",
            window_bytes=1,
        ),
        encoding="utf-8",
    )
    assert run(["sh", "-n", script], deadline=Deadline.after(SOON_S)).stderr == ""


def test_a_packages_version_is_read_from_its_files_name() -> None:
    made = packages._package(Path("busybox-static_1%3a1.35.0-4+deb12u1_arm64.deb"))
    assert (made.name, made.version) == ("busybox-static", "1:1.35.0-4+deb12u1")
