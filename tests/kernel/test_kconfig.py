# SPDX-License-Identifier: GPL-2.0-only
"""Fragments are merged strictly, and every setting that a kernel drops is explained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest

from toolkit.errors import ConfigError, UnknownNameError
from toolkit.kernel import arch, kconfig
from toolkit.kernel.arch import Arch
from toolkit.kernel.kconfig import Setting

# The language of 2020 and what came later: `modules`, `transitional`, `depends on A if B`.
KCONFIG = """\
mainmenu "Test $(ARCH)"
config CC_NEW
\tdef_bool $(shell,test "$(ARCH)" = fake && echo y || echo n)
config MODULES
\tbool "modules"
\tmodules
config OLD_NAME
\tbool
\ttransitional
config DEBUG_FS
\tbool "debugfs"
config EXTRA
\tbool "extra"
config ZSMALLOC
\ttristate "zsmalloc"
\tdepends on DEBUG_FS if EXTRA # a remark
config ZSMALLOC_STAT
\tbool "statistics"
\tdepends on ZSMALLOC=y && DEBUG_FS
config EITHER
\tbool "either"
\tdepends on DEBUG_FS || OLD_NAME
config HIDDEN
\tbool
config SELECTOR
\tbool "selector"
\tselect HIDDEN
\tselect FORCED
config FORCED
\tbool "forced"
config PROMPTED
\tbool "prompted" if EXTRA
config NUMBER
\tint "number"
\trange 1 5
\tdefault 3
choice
\tprompt "one of"
config ONE
\tbool "one"
config TWO
\tbool "two"
endchoice
source "sub/Kconfig"
"""


@pytest.fixture
def fragments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of fragments of the test's own."""
    directory = tmp_path / "fragments"
    directory.mkdir()
    monkeypatch.setattr(kconfig, "directory", lambda: directory)
    return directory


@pytest.fixture
def some_arch() -> Arch:
    return arch.load(arch.names()[0])


def _write(directory: Path, **texts: str) -> None:
    for name, text in texts.items():
        (directory / f"{name.replace('__', '.')}.config").write_text(text, encoding="utf-8")


def _values(composed: kconfig.Kconfig) -> Mapping[str, str]:
    return {symbol: setting.value for symbol, setting in composed.settings.items()}


def test_base_is_implied_and_fragments_compose(fragments: Path, some_arch: Arch) -> None:
    _write(fragments, base="CONFIG_A=y\n", debug="CONFIG_B=y\n", kasan="# CONFIG_C is not set\nCONFIG_A=y\n")
    composed = kconfig.compose("debug+kasan", some_arch, (6, 1))
    assert composed.name == "debug+kasan"
    assert composed.text == "CONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\n"
    assert composed.settings["B"].origin == "debug.config:1"
    assert kconfig.compose("base", some_arch, (6, 1)).name == "base"
    assert kconfig.compose("kasan+debug", some_arch, (6, 1)) == composed


def test_fragments_go_on_top_of_a_defconfig_or_of_a_whole_config(
    fragments: Path, some_arch: Arch, tmp_path: Path
) -> None:
    _write(fragments, base="CONFIG_A=y\n", debug="CONFIG_B=y\n")
    kconfig.check_names("x86_64_defconfig+debug", some_arch)
    composed = kconfig.compose("x86_64_defconfig+debug", some_arch, (6, 1))
    assert (composed.name, composed.defconfig, composed.whole) == (
        "debug+x86_64_defconfig", "x86_64_defconfig", "",
    )  # fmt: skip
    assert _values(composed) == {"A": "y", "B": "y"}
    mine = tmp_path / ".config"
    # What it says of A does not conflict: the fragments are on top.
    text = "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/x86\n#\n# CONFIG_A is not set\n"
    mine.write_text(text, encoding="utf-8")
    composed = kconfig.compose(f"{mine}+debug", some_arch, (6, 1))
    assert (composed.name, composed.defconfig, composed.whole) == ("config+debug", "", text)
    assert _values(composed) == {"A": "y", "B": "y"}
    with pytest.raises(ConfigError, match="two configurations to begin with: defconfig and "):
        kconfig.compose(f"defconfig+{mine}", some_arch, (6, 1))


def test_conflicting_fragments_are_refused_with_both_lines(fragments: Path, some_arch: Arch) -> None:
    _write(fragments, base="\nCONFIG_A=y\n", debug="# CONFIG_A is not set\n")
    with pytest.raises(ConfigError, match="conflicting values of A") as caught:
        kconfig.compose("debug", some_arch, (6, 1))
    assert caught.value.detail == "base.config:2: CONFIG_A=y\ndebug.config:1: # CONFIG_A is not set"


def test_a_contradiction_within_a_fragment_is_refused_too(fragments: Path, some_arch: Arch) -> None:
    _write(fragments, base="CONFIG_A=1\nCONFIG_A=2\n")
    with pytest.raises(ConfigError) as caught:
        kconfig.compose("base", some_arch, (6, 1))
    assert caught.value.detail == "base.config:1: CONFIG_A=1\nbase.config:2: CONFIG_A=2"


def test_extra_settings_conflict_like_a_fragment(fragments: Path, some_arch: Arch) -> None:
    _write(fragments, base="CONFIG_A=y\n")
    extra = kconfig.parse("CONFIG_B=y", "series.toml")
    assert _values(kconfig.compose("base", some_arch, (6, 1), extra)) == {"A": "y", "B": "y"}
    with pytest.raises(ConfigError, match="conflicting"):
        kconfig.compose("base", some_arch, (6, 1), kconfig.parse("CONFIG_A=n", "series.toml"))


@pytest.mark.parametrize(
    ("release", "values"),
    [
        ((6, 1), {"A": "y", "B": "old"}),
        ((6, 9), {"A": "y", "B": "old"}),
        ((6, 12), {"A": "y", "B": "new"}),
        ((7, 0), {"A": "y", "B": "new", "C": "y"}),
    ],
)
def test_overlays_fit_releases(
    fragments: Path, some_arch: Arch, release: tuple[int, int], values: dict[str, str]
) -> None:
    _write(fragments, base="CONFIG_A=y\nCONFIG_B=old\n")
    (fragments / "base.since-6.12.config").write_text("CONFIG_B=new\n", encoding="utf-8")
    (fragments / "base.since-7.0.config").write_text("CONFIG_C=y\n", encoding="utf-8")
    (fragments / "base.before-6.1.config").write_text("CONFIG_D=y\n", encoding="utf-8")
    assert _values(kconfig.compose("base", some_arch, release)) == values


def test_an_overlay_can_be_for_an_architecture_and_a_release(fragments: Path, some_arch: Arch) -> None:
    _write(fragments, base="CONFIG_A=1\n", **{f"base__{some_arch.name}": "CONFIG_A=2\n"})
    (fragments / f"base.{some_arch.name}.since-7.0.config").write_text("CONFIG_A=3\n", encoding="utf-8")
    (fragments / "base.other.since-7.0.config").write_text("CONFIG_A=4\n", encoding="utf-8")
    assert _values(kconfig.compose("base", some_arch, (6, 12))) == {"A": "2"}
    assert _values(kconfig.compose("base", some_arch, (7, 0))) == {"A": "3"}


def test_an_overlay_of_the_architecture_wins_over_its_fragment(fragments: Path, some_arch: Arch) -> None:
    other = dataclasses.replace(some_arch, name="other")
    _write(fragments, base="CONFIG_A=1\n", **{f"base__{some_arch.name}": "CONFIG_A=2\n"})
    _write(fragments, **{f"big__{some_arch.name}": "CONFIG_B=y\n"})
    assert _values(kconfig.compose("base", some_arch, (6, 1))) == {"A": "2"}
    assert _values(kconfig.compose("base", other, (6, 1))) == {"A": "1"}
    assert kconfig.names(some_arch) == ("base", "big")
    assert kconfig.names(other) == ("base",)
    with pytest.raises(ConfigError, match="the configuration big is not for other"):
        kconfig.compose("big", other, (6, 1))


def test_an_unknown_fragment_and_a_path_that_is_not_there(
    fragments: Path, some_arch: Arch, tmp_path: Path
) -> None:
    _write(fragments, base="CONFIG_A=y\n", debug="")
    with pytest.raises(UnknownNameError) as caught:
        kconfig.compose("debgu", some_arch, (6, 1))
    assert caught.value.hint == "did you mean 'debug'?"
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        kconfig.compose(str(tmp_path / "x.config"), some_arch, (6, 1))
    (tmp_path / "mine.config").write_text("CONFIG_M=m\n", encoding="utf-8")
    composed = kconfig.compose(f"debug+{tmp_path / 'mine.config'}", some_arch, (6, 1))
    assert composed.name == "debug+mine"
    assert composed.settings["M"].origin == f"{tmp_path / 'mine.config'}:1"


@pytest.mark.parametrize("line", ["CONFIG A=y", "A=y", "CONFIG_A", "CONFIG_A-B=y"])
def test_a_line_that_sets_nothing_is_refused(line: str) -> None:
    with pytest.raises(ConfigError, match="x:2: not a line of configuration"):
        kconfig.parse(f"# a remark\n{line}\n", "x")


def test_what_is_missing_is_found_with_n_meaning_absent() -> None:
    wanted = kconfig.Kconfig(
        "x", {s.symbol: s for s in kconfig.parse("CONFIG_A=y\nCONFIG_B=n\nCONFIG_C=5", "x")}
    )
    final = kconfig.read_config('CONFIG_A=m\n# CONFIG_B is not set\nCONFIG_C=5\nCONFIG_D="x=y"\n')
    assert final == {"A": "m", "C": "5", "D": '"x=y"'}
    assert [str(setting) for setting in wanted.missing_from(final)] == ["A=y"]


@pytest.fixture
def fake_source(tmp_path: Path) -> Path:
    top = tmp_path / "linux"
    (top / "sub").mkdir(parents=True)
    (top / "Kconfig").write_text(KCONFIG, encoding="utf-8")
    (top / "sub/Kconfig").write_text('config SUB\n\tbool "sub"\n\tdepends on CC_NEW\n', encoding="utf-8")
    return top


@pytest.mark.parametrize(
    ("final", "wanted", "reason"),
    [
        ("CONFIG_ZSMALLOC=y", "ZSMALLOC_STAT=y", "depends on DEBUG_FS, which is n"),
        (
            "CONFIG_MODULES=y\nCONFIG_DEBUG_FS=y\nCONFIG_ZSMALLOC=m",
            "ZSMALLOC_STAT=y",
            "depends on ZSMALLOC = y (ZSMALLOC is m)",
        ),
        (
            "",
            "ZSMALLOC_STAT=y",
            "depends on ZSMALLOC = y (ZSMALLOC is n) and depends on DEBUG_FS, which is n",
        ),
        ("CONFIG_EXTRA=y", "ZSMALLOC=y", "depends on DEBUG_FS || !EXTRA (DEBUG_FS is n, EXTRA is y)"),
        ("", "EITHER=y", "depends on DEBUG_FS || OLD_NAME (DEBUG_FS is n, OLD_NAME is n)"),
        ("", "HIDDEN=y", "it is n: it cannot be set, only selected by SELECTOR"),
        ("CONFIG_SELECTOR=y", "FORCED=n", "it is y: selected by SELECTOR"),
        ("", "PROMPTED=y", "can be set only if EXTRA, which is n"),
        ("CONFIG_TWO=y", "ONE=y", "it is n: its choice has TWO"),
        ("CONFIG_NUMBER=3", "NUMBER=9", "it is 3"),
        ("", "ZSMALOC=y", "this tree has no such symbol; did you mean ZSMALLOC?"),
        ("", "QQQQQQ=y", "this tree has no such symbol"),
        ("", "CC_NEW=n", "it is y: it cannot be set, its default decides"),
    ],
)
def test_a_dropped_setting_is_explained(
    fake_source: Path, tmp_path: Path, final: str, wanted: str, reason: str
) -> None:
    path = tmp_path / ".config"
    path.write_text(f"{final}\n", encoding="utf-8")
    symbol, _, value = wanted.partition("=")
    setting = Setting(symbol, value, "f.config:7")
    (told,) = kconfig.explain(fake_source, {"ARCH": "fake"}, path, [setting])
    assert told == f"{wanted} (f.config:7) was dropped: {reason}"


def test_shell_commands_of_kconfig_run_in_the_scratch_directory(tmp_path: Path) -> None:
    (tmp_path / "linux").mkdir()
    (tmp_path / "scratch").mkdir()
    text = 'config HERE\n\tstring\n\tdefault "$(shell,touch mark; pwd)"\n'
    text += 'config TREE\n\tstring\n\tdefault "$(srctree)"\n'
    (tmp_path / "linux/Kconfig").write_text(text, encoding="utf-8")
    parsed = kconfig.load_kconfig(tmp_path / "linux", {}, tmp_path / "scratch")
    assert parsed.syms["HERE"].str_value == str(tmp_path / "scratch")
    assert parsed.syms["TREE"].str_value == str(tmp_path / "linux")
    assert (tmp_path / "scratch/mark").exists()


def test_a_kconfig_that_cannot_be_parsed_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "Kconfig").write_text("config A\n\tgibberish here\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="its Kconfig cannot be read"):
        kconfig.load_kconfig(tmp_path, {}, tmp_path)


@pytest.mark.parametrize("name", arch.names())
@pytest.mark.parametrize("release", [(6, 1), (6, 12), (7, 2)])
def test_our_own_fragments_compose_on_every_architecture(name: str, release: tuple[int, int]) -> None:
    found = arch.load(name)
    for fragment in kconfig.names(found):
        composed = kconfig.compose(fragment, found, release)
        assert composed.settings["ZSMALLOC_STAT"].value == "y"
    together = kconfig.compose("debug+kasan+faults", found, release)
    assert together.settings["KASAN"].value == together.settings["PROVE_LOCKING"].value == "y"
