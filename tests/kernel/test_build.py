# SPDX-License-Identifier: GPL-2.0-only
"""Kernels are built once, incrementally, and a failure is told by the compiler's own lines.

The kernel here is three files and a Makefile that knows the targets we use; make,
gcc and git are the real ones.
"""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pytest

from tests.kernel.conftest import MAKEFILE
from toolkit.errors import BuildError, ConfigError, MissingToolError, StoreError, UnknownNameError
from toolkit.kernel import arch, build, kconfig, series, source
from toolkit.kernel.arch import Arch
from toolkit.kernel.kconfig import Kconfig
from toolkit.kernel.source import Tree

RULES = """\
allnoconfig:
	@grep -v DROPPED $(KCONFIG_ALLCONFIG) > $(O)/.config
vmlinux: $(O)/vmlinux
packed: $(O)/vmlinux
	@mkdir -p $(O)/boot
	@cp $(O)/vmlinux $(O)/boot/packed
modules_prepare: ;
ifdef M
modules:
	@echo "  CC [M]  one.o"
	@cat $(M)/one.c $(KBUILD_EXTRA_SYMBOLS) > $(M)/one.ko
else
modules: $(O)/vmlinux
	@echo symbols > $(O)/Module.symvers
endif
$(O)/%.o: %.c $(O)/.config
	@mkdir -p $(@D)
	@echo "  CC      $*.o"
	@$(CC) $(KCFLAGS) $(if $(W),-Wall) -c -o $@ $<
mm/zsmalloc.o: $(O)/mm/zsmalloc.o ;
$(O)/vmlinux: $(O)/init/main.o $(O)/mm/zsmalloc.o
	@echo "  LD      vmlinux"
	@cat $^ > $@
	@touch $(O)/System.map
	@mkdir -p $(O)/include/config
	@echo "6.1.192$(LOCALVERSION)" > $(O)/include/config/kernel.release
"""
EDIT = """\
--- a/mm/zsmalloc.c
+++ b/mm/zsmalloc.c
@@ -1 +1 @@
-int zsmalloc = 1;
+int zsmalloc = 2;
"""


@pytest.fixture
def fake_arch() -> Arch:
    """This host's own architecture, with the fake kernel's targets."""
    native = next(found for found in map(arch.load, arch.names()) if found.native)
    return dataclasses.replace(native, kernel_image="vmlinux", kasan_image="")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LLVM", "CC", "CROSS_COMPILE", "KCFLAGS", "KCPPFLAGS", "KAFLAGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CCACHE_DIR", str(tmp_path / "ccache"))


@pytest.fixture
def fake(cache: Path, plain: Path) -> Tree:
    (plain / "Makefile").write_text(MAKEFILE + RULES, encoding="utf-8")
    (plain / "init/main.c").write_text("int main(void) { return 0; }\n", encoding="utf-8")
    (plain / "mm/zsmalloc.c").write_text("int zsmalloc = 1;\n", encoding="utf-8")
    return _fetch(plain)


def _fetch(directory: Path) -> Tree:
    return source.fetch(source.load(str(directory)), progress=lambda _: None)


def _wanted(text: str = "CONFIG_A=y\nCONFIG_MODULES=y\n", name: str = "base") -> Kconfig:
    return Kconfig(name, {setting.symbol: setting for setting in kconfig.parse(text, "x.config")})


def _make(tree: Tree, fake_arch: Arch, wanted: Kconfig | None = None) -> tuple[build.BuiltKernel, list[str]]:
    """The kernel, and what was told while it was built."""
    told: list[str] = []
    config = build.configure(tree, fake_arch, wanted or _wanted(), progress=told.append)
    return build.build(tree, fake_arch, config, progress=told.append), told


def _compiled(kernel: build.BuiltKernel) -> list[str]:
    return [line.split()[1] for line in kernel.log.read_text(encoding="utf-8").splitlines() if "  CC" in line]


def test_a_kernel_is_built_and_stored_with_all_that_belongs_to_it(fake: Tree, fake_arch: Arch) -> None:
    kernel, told = _make(fake, fake_arch)
    assert kernel.release == "6.1.192"
    assert kernel.image == kernel.vmlinux == kernel.directory / "vmlinux"
    names = {path.name for path in kernel.directory.iterdir()}
    assert names == {
        "vmlinux", "System.map", "config", "Module.symvers", "zsmalloc.o", "build.log", "kernel.json",
    }  # fmt: skip
    assert kernel.config.read_text(encoding="utf-8") == "CONFIG_A=y\nCONFIG_MODULES=y\n"
    assert told[:2] == ["configuring", "checking out Linux 6.1.192"]
    # make runs both at once, and the second may come too soon after the first to be told.
    assert {"CC init/main.o", "CC mm/zsmalloc.o"} & set(told)
    assert build.find(kernel.key) == kernel
    assert build.find("0" * 64) is None


def test_with_kasan_qemu_may_be_given_another_image(fake: Tree, fake_arch: Arch) -> None:
    other = dataclasses.replace(fake_arch, kasan_image="boot/packed")
    plain, _ = _make(fake, other)
    assert plain.image.name == "vmlinux"
    assert plain.key == _make(fake, fake_arch)[0].key
    wanted = _wanted("CONFIG_A=y\nCONFIG_KASAN=y\n", "kasan")
    kernel, _ = _make(fake, other, wanted)
    assert kernel.image == kernel.directory / "packed"
    assert kernel.image.exists()
    assert kernel.vmlinux.exists()
    # The one of before is not taken for it.
    assert kernel.key != _make(fake, fake_arch, wanted)[0].key


def test_the_same_kernel_again_neither_builds_nor_checks_out(
    fake: Tree, fake_arch: Arch, cache: Path
) -> None:
    kernel, _ = _make(fake, fake_arch)
    work = cache / "work"
    work.rename(cache / "moved")
    again, told = _make(fake, fake_arch)
    assert again == kernel
    assert told == []
    assert not work.exists()


def test_a_patch_rebuilds_only_what_it_touches(fake: Tree, fake_arch: Arch, tmp_path: Path) -> None:
    baseline, _ = _make(fake, fake_arch)
    assert sorted(_compiled(baseline)) == ["init/main.o", "mm/zsmalloc.o"]
    (tmp_path / "edit.patch").write_text(EDIT, encoding="utf-8")
    edited = series.apply(fake, series.load(str(tmp_path / "edit.patch")), progress=lambda _: None)
    kernel, told = _make(edited, fake_arch)
    assert kernel.key != baseline.key
    assert _compiled(kernel) == ["mm/zsmalloc.o"]
    # Kconfig is the same, so is the configuration.
    assert "configuring" not in told
    assert kernel.vmlinux.read_bytes() != baseline.vmlinux.read_bytes()
    # Back again: from the store, although the work tree holds the other.
    assert _make(fake, fake_arch) == (baseline, [])


def test_modules_are_made_again_for_what_they_are_made_of_and_for_nothing_else(
    fake: Tree, fake_arch: Arch, plain: Path, tmp_path: Path
) -> None:
    sources = tmp_path / "modules"
    sources.mkdir()
    (sources / "one.c").write_text("int one;\n", encoding="utf-8")

    def modules(tree: Tree) -> tuple[Path, bool]:
        kernel, _ = _make(tree, fake_arch)
        config = build.configure(tree, fake_arch, _wanted())
        told: list[str] = []
        made = build.modules(tree, fake_arch, config, kernel, sources, progress=told.append)
        return made, bool(told)

    first, made = modules(fake)
    assert made
    assert (first / "one.ko").read_text(encoding="utf-8") == "int one;\nsymbols\n"
    (plain / "mm/zsmalloc.c").write_text("int zsmalloc = 2;\n", encoding="utf-8")
    assert modules(_fetch(plain)) == (first, False)
    header = plain / "include/linux/zsmalloc.h"
    header.parent.mkdir(parents=True)
    header.write_text("int zs_malloc(void);\n", encoding="utf-8")
    second, made = modules(_fetch(plain))
    assert made
    (sources / "one.c").write_text("int two;\n", encoding="utf-8")
    third, made = modules(_fetch(plain))
    assert made
    assert len({first, second, third}) == 3


def test_a_work_tree_that_was_tampered_with_is_put_right(fake: Tree, fake_arch: Arch, cache: Path) -> None:
    _make(fake, fake_arch)
    place = cache / "work" / f"6.1-{fake_arch.name}-base"
    (place / "linux/mm/zsmalloc.c").write_text("int zsmalloc = 666;\n", encoding="utf-8")
    (place / "linux/left-behind.c").write_text("int x;\n", encoding="utf-8")
    (place / "checking-out").touch()
    kernel, _ = _make(fake, fake_arch, _wanted("CONFIG_B=y\n"))
    assert (place / "linux/mm/zsmalloc.c").read_text(encoding="utf-8") == "int zsmalloc = 1;\n"
    assert not (place / "linux/left-behind.c").exists()
    assert not (place / "checking-out").exists()
    assert kernel.config.read_text(encoding="utf-8") == "CONFIG_B=y\n"


def test_what_a_killed_make_wrote_is_made_again(fake: Tree, fake_arch: Arch, cache: Path) -> None:
    baseline, _ = _make(fake, fake_arch)
    directory = cache / "work" / f"6.1-{fake_arch.name}-base/linux/build"
    old = directory / "init/main.o"
    before_ns = old.stat().st_mtime_ns
    time.sleep(0.02)
    # As after SIGKILL in the middle of an object: the mark is there, the object newer and cut short.
    (directory / ".unfinished").touch()
    (directory / "mm/zsmalloc.o").write_bytes(b"half")
    os.utime(directory / "mm/zsmalloc.o")
    (baseline.directory).rename(cache / "moved")
    again, _ = _make(fake, fake_arch)
    assert (again.directory / "zsmalloc.o").read_bytes() == (cache / "moved/zsmalloc.o").read_bytes()
    assert old.stat().st_mtime_ns == before_ns
    assert not (directory / ".unfinished").exists()


def test_a_compilers_error_is_the_message_and_the_log_is_kept(
    plain: Path, fake: Tree, fake_arch: Arch, cache: Path
) -> None:
    (plain / "mm/zsmalloc.c").write_text("int good;\nint zsmalloc = undeclared;\n", encoding="utf-8")
    broken = _fetch(plain)
    with pytest.raises(BuildError, match="the kernel does not build") as caught:
        _make(broken, fake_arch)
    assert "mm/zsmalloc.c:2:16: error: 'undeclared' undeclared" in caught.value.detail.replace(
        "‘", "'"
    ).replace("’", "'")
    log = Path(caught.value.hint.removeprefix("make's output: "))
    assert "zsmalloc.c:2:16: error:" in log.read_text(encoding="utf-8")
    assert not list((cache / "store/kernels").glob("[!.]*"))
    # Mended, it builds.
    assert _make(fake, fake_arch)[0].release == "6.1.192"


def test_what_the_compiler_says_of_a_file_is_kept_and_told_without_its_line(
    plain: Path, fake: Tree, fake_arch: Arch
) -> None:
    config = build.configure(fake, fake_arch, _wanted())

    def said(tree: Tree) -> list[str]:
        told: list[str] = []
        found = build.examine(tree, fake_arch, config, ["mm/zsmalloc.c"], progress=told.append, lane="steps")
        assert build.examine(tree, fake_arch, config, ["mm/zsmalloc.c"], progress=lambda _: None) == found
        assert told == [f"checking out Linux {tree.version}"]
        return [f"{one.file} {one.kind} {one.text.split('[')[-1]}" for one in found]

    assert said(fake) == []
    (plain / "mm/zsmalloc.c").write_text("static int unused;\n", encoding="utf-8")
    assert said(_fetch(plain)) == ["mm/zsmalloc.c warning -Wunused-variable]"]
    (plain / "mm/zsmalloc.c").write_text("int broken\n", encoding="utf-8")
    (broken,) = said(_fetch(plain))
    assert broken.startswith("mm/zsmalloc.c error expected ")


def test_a_lane_has_a_work_tree_of_its_own(fake: Tree, fake_arch: Arch, cache: Path, plain: Path) -> None:
    _make(fake, fake_arch)
    (plain / "init/main.c").write_text("int main(void) { return 1; }\n", encoding="utf-8")
    changed = _fetch(plain)
    config = build.configure(changed, fake_arch, _wanted())
    kernel = build.build(changed, fake_arch, config, progress=lambda _: None, lane="steps")
    assert sorted(_compiled(kernel)) == ["init/main.o", "mm/zsmalloc.o"]
    assert {path.name for path in (cache / "work").glob("6.1-*")} == {
        f"6.1-{fake_arch.name}-base", f"6.1-{fake_arch.name}-base-steps",
    }  # fmt: skip


def test_a_disk_that_fills_up_while_building_blames_no_kernel(
    plain: Path, fake: Tree, fake_arch: Arch
) -> None:
    rules = RULES.replace("@cat $^ > $@", "@echo 'ld: final link failed: No space left on device'; exit 1")
    (plain / "Makefile").write_text(MAKEFILE + rules, encoding="utf-8")
    with pytest.raises(StoreError, match="no space left while building"):
        _make(_fetch(plain), fake_arch)


def test_a_dropped_setting_stops_before_the_build_with_the_reason(
    plain: Path, fake: Tree, fake_arch: Arch, cache: Path
) -> None:
    (plain / "Kconfig").write_text(
        'config A\n\tbool "a"\nconfig DROPPED\n\tbool "dropped"\n\tdepends on B\nconfig B\n\tbool "b"\n',
        encoding="utf-8",
    )
    tree = _fetch(plain)
    with pytest.raises(ConfigError, match=r"Linux 6\.1\.192 for \w+ drops 1 of the settings") as caught:
        build.configure(tree, fake_arch, _wanted("CONFIG_A=y\nCONFIG_DROPPED=y\n"))
    assert caught.value.detail == "DROPPED=y (x.config:2) was dropped: depends on B, which is n"
    assert not list((cache / "store/configs").glob("[!.]*"))


def test_a_configuration_is_kept_until_something_kconfig_reads_changes(
    plain: Path, fake: Tree, fake_arch: Arch
) -> None:
    first = build.configure(fake, fake_arch, _wanted())
    (plain / "mm/zsmalloc.c").write_text("int other;\n", encoding="utf-8")
    assert build.configure(_fetch(plain), fake_arch, _wanted()) == first
    (plain / "Kconfig").write_text("config C\n\tbool\n", encoding="utf-8")
    assert build.configure(_fetch(plain), fake_arch, _wanted()) != first
    assert first.name == "base.config"


INPUTS = build.BuildInputs("tree", "config", "x86_64", "gcc 12", ("KCFLAGS=-g",))


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(INPUTS)])
def test_every_input_changes_the_key(field: str) -> None:
    other = ("KCFLAGS=-O3",) if field == "flags" else "other"
    assert dataclasses.replace(INPUTS, **{field: other}).key != INPUTS.key  # type: ignore[arg-type]  # by name
    assert len(INPUTS.key) == 64


def test_the_key_is_the_same_in_every_process() -> None:
    """It names directories that outlive us: whoever changes it discards every kernel built so far."""
    assert INPUTS.key == "b53f2c2dc98cad2498788bac53f1c86908f531a4531f5ef053f511f7d2595569"


def test_kcflags_reach_the_compiler_and_the_key(
    fake: Tree, fake_arch: Arch, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = build.configure(fake, fake_arch, _wanted())
    plain_key = build.inputs(fake, fake_arch, config).key
    monkeypatch.setenv("KCFLAGS", "-Dzsmalloc=renamed_by_a_flag")
    flagged, _ = _make(fake, fake_arch)
    assert flagged.key != plain_key
    assert b"renamed_by_a_flag" in (flagged.directory / "zsmalloc.o").read_bytes()


@pytest.mark.parametrize("name", arch.names())
def test_the_toolchain_follows_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = arch.load(name)
    processor = found.triplet.split("-")[0]
    monkeypatch.setenv("CROSS_COMPILE", f"/opt/tools/{processor}-none-")
    assert build._compilers(found) == (f"/opt/tools/{processor}-none-gcc", f"/opt/tools/{processor}-none-ld")
    monkeypatch.setenv("CROSS_COMPILE", "riscv64-linux-gnu-")
    assert build._compilers(found) == (f"{found.cross_compile}gcc", f"{found.cross_compile}ld")
    for value, compiler, linker in (
        ("1", "clang", "ld.lld"),
        ("-14", "clang-14", "ld.lld-14"),
        ("/opt/llvm/bin/", "/opt/llvm/bin/clang", "/opt/llvm/bin/ld.lld"),
    ):
        monkeypatch.setenv("LLVM", value)
        assert build._compilers(found) == (compiler, linker)


@pytest.mark.parametrize("name", arch.names())
def test_requirements_name_a_package_for_everything(name: str) -> None:
    found = arch.load(name)
    needs = dict(build.toolchain_requirements(found))
    assert needs["/usr/include/gelf.h"] == "libelf-dev"
    assert {"make", "flex", "bison", "bc", "git"} <= needs.keys()
    if not found.native:
        assert needs[f"{found.cross_compile}gcc"] == f"gcc-{found.triplet.replace('_', '-')}"


def test_missing_tools_are_told_all_at_once(
    fake_arch: Arch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError) as caught:
        build.toolchain(fake_arch)
    assert "not installed: git, make, flex, bison, bc" in caught.value.message
    assert "ccache" not in caught.value.message
    assert caught.value.hint.startswith("apt-get install git make flex bison bc")


LOG = """\
  CC      mm/zsmalloc.o
../mm/zsmalloc.c: In function 'zs_malloc':
../mm/zsmalloc.c:1400:2: error: implicit declaration of function 'foo' [-Werror=implicit-function-declaration]
 1400 |  foo();
      |  ^~~
cc1: some warnings being treated as errors
make[3]: *** [../scripts/Makefile.build:250: mm/zsmalloc.o] Error 1
  CC      kernel/fork.o
ld: mm/zsmalloc.o: in function `zs_free':
../mm/zsmalloc.c:7: undefined reference to `bar'
ERROR: modpost: "baz" [drivers/block/zram/zram.ko] undefined!
arch/x86/entry/entry.S:10: Error: no such instruction: `movx'
make: *** [Makefile:230: __sub-make] Error 2
"""


def test_errors_of_compiler_assembler_linker_and_modpost_are_picked_from_a_log() -> None:
    picked = build.compiler_errors(LOG).splitlines()
    assert [line.split(":")[0] for line in picked if "|" not in line] == [
        "../mm/zsmalloc.c",
        "../mm/zsmalloc.c",
        "ERROR",
        "arch/x86/entry/entry.S",
    ]
    assert " 1400 |  foo();" in picked
    assert not [line for line in picked if line.startswith("make")]


def test_a_log_without_a_known_error_is_shown_by_its_end() -> None:
    assert build.compiler_errors("a\nb\nsomething odd\n") == "a\nb\nsomething odd"


@pytest.mark.kernel
@pytest.mark.parametrize("name", arch.names())
def test_the_real_kconfig_explains_what_6_1_drops(name: str) -> None:
    tree = _fetch_6_1()
    found = arch.load(name)
    asked = "CONFIG_DEBUG_KMEMLEAK_TEST=m\nCONFIG_BTRFS_FS_POSIX_ACL=y\nCONFIG_ZSMALOC=y\n"
    wanted = kconfig.compose("base", found, tree.release, kconfig.parse(asked, "mine.config"))
    with pytest.raises(ConfigError, match="drops 3 of the settings") as caught:
        build.configure(tree, found, wanted)
    assert caught.value.detail.splitlines() == [
        "DEBUG_KMEMLEAK_TEST=m (mine.config:1) was dropped: depends on DEBUG_KMEMLEAK, which is n",
        "BTRFS_FS_POSIX_ACL=y (mine.config:2) was dropped: depends on BTRFS_FS, which is n",
        "ZSMALOC=y (mine.config:3) was dropped: this tree has no such symbol; did you mean ZSMALLOC?",
    ]


_CONFIGURATIONS = [
    (name, spec) for name in arch.names() for spec in (*kconfig.names(arch.load(name)), "debug+kasan+faults")
]


@pytest.mark.kernel
@pytest.mark.parametrize(("name", "spec"), _CONFIGURATIONS)
def test_our_configurations_are_kept_whole_by_6_1(name: str, spec: str) -> None:
    tree = _fetch_6_1()
    found = arch.load(name)
    wanted = kconfig.compose(spec, found, tree.release)
    final = kconfig.read_config(build.configure(tree, found, wanted).read_text(encoding="utf-8"))
    assert final["ZSMALLOC_STAT"] == final["ZRAM"] == "y"
    assert len(final) > 400


@pytest.mark.kernel
@pytest.mark.parametrize("name", arch.names())
def test_ours_goes_on_top_of_a_defconfig_of_6_1_and_of_a_whole_config(name: str, tmp_path: Path) -> None:
    tree = _fetch_6_1()
    found = arch.load(name)
    wanted = kconfig.compose("defconfig", found, tree.release)
    text = build.configure(tree, found, wanted).read_text(encoding="utf-8")
    final = kconfig.read_config(text)
    assert final["ZSMALLOC_STAT"] == final["ZRAM"] == final["VFAT_FS"] == "y"
    mine = tmp_path / "mine.config"
    mine.write_text(text.replace("CONFIG_VFAT_FS=y", "# CONFIG_VFAT_FS is not set"), encoding="utf-8")
    wanted = kconfig.compose(str(mine), found, tree.release)
    again = kconfig.read_config(build.configure(tree, found, wanted).read_text(encoding="utf-8"))
    assert "VFAT_FS" not in again
    assert again["ZRAM"] == "y"
    with pytest.raises(UnknownNameError, match="no_defconfig"):
        build.configure(tree, found, kconfig.compose("no_defconfig", found, tree.release))


def _fetch_6_1() -> Tree:
    return source.fetch(source.load("6.1"), progress=lambda _: None)
