# SPDX-License-Identifier: GPL-2.0-only
"""Configuration fragments: merged with their origins, and why the kernel dropped what it dropped."""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import kconfiglib

from toolkit import places
from toolkit.deadline import Deadline
from toolkit.errors import ConfigError, UnknownNameError
from toolkit.kernel.arch import Arch
from toolkit.run import run

BASE = "base"

_SET = re.compile(r"CONFIG_(\w+)=(.*)")
_UNSET = re.compile(r"# CONFIG_(\w+) is not set")
_OVERLAY = re.compile(r"(since|before)-(\d+)\.(\d+)")
_SHELL_LIMIT_S = 60.0
_DEFCONFIG = re.compile(r"\w*defconfig")
# The second line of what Kconfig writes.
_GENERATED = "# Automatically generated file; DO NOT EDIT."


@dataclass(frozen=True)
class Setting:
    """One line of a fragment: a symbol without CONFIG_, its value as in .config, and its file:line."""

    symbol: str
    value: str
    origin: str

    @property
    def line(self) -> str:
        """The line as a .config has it."""
        return f"# CONFIG_{self.symbol} is not set" if self.value == "n" else f"CONFIG_{self}"

    def __str__(self) -> str:
        return f"{self.symbol}={self.value}"


@dataclass(frozen=True)
class Kconfig:
    """A composed configuration: what is asked for, by symbol; `name` like "debug+kasan".

    It is put on top of a `defconfig` of the tree, by its name, or of a `whole` .config, by its
    text; without either, what is not asked for is n.
    """

    name: str
    settings: Mapping[str, Setting]
    defconfig: str = ""
    whole: str = ""

    @property
    def text(self) -> str:
        """All of it as one fragment, sorted."""
        return "".join(f"{self.settings[symbol].line}\n" for symbol in sorted(self.settings))

    def missing_from(self, final: Mapping[str, str]) -> tuple[Setting, ...]:
        """The settings that a final configuration does not have."""
        return tuple(
            setting for symbol, setting in self.settings.items() if final.get(symbol, "n") != setting.value
        )


def directory() -> Path:
    return places.declared("configs") / "fragments"


def names(arch: Arch) -> tuple[str, ...]:
    """The fragments that can be asked for on `arch`: those with a file for all, or one for it."""
    stems = (path.stem for path in directory().glob("*.config"))
    return tuple(sorted({stem.split(".")[0] for stem in stems if stem.partition(".")[2] in ("", arch.name)}))


def parse(text: str, origin: str) -> tuple[Setting, ...]:
    """The settings of a fragment; ConfigError for a line that is none, or a contradiction."""
    settings: dict[str, Setting] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _SET.fullmatch(line.strip()) or _UNSET.fullmatch(line.strip())
        if match is not None:
            value = match[2].strip() if match.re is _SET else "n"
            _merge(settings, (Setting(match[1], value or "n", f"{origin}:{number}"),))
        elif line.strip() and not line.lstrip().startswith("#"):
            raise ConfigError(
                f"{origin}:{number}: not a line of configuration: {line.strip()!r}",
                hint="CONFIG_X=y, or: # CONFIG_X is not set",
            )
    return tuple(settings.values())


def compose(spec: str, arch: Arch, release: tuple[int, int], extra: tuple[Setting, ...] = ()) -> Kconfig:
    """The configuration "a+b": base, then each named fragment or path of one, then `extra` settings.

    A fragment NAME is NAME.config, overlaid by NAME.<architecture>.config and by
    NAME.since-<release>.config and NAME.before-<release>.config where they fit; an
    overlay for a release can be for one architecture, NAME.<architecture>.since-....
    Two fragments that want different values of a symbol are refused.

    One part may be what all of these are put on top of: a defconfig of the tree
    ("x86_64_defconfig+debug"), or the path of a .config as Kconfig wrote it.
    """
    parts = list(dict.fromkeys(part for part in spec.split("+") if part != BASE))
    beneath = {part: text for part in parts if (text := _beneath(part)) is not None}
    if len(beneath) > 1:
        raise ConfigError(f"two configurations to begin with: {' and '.join(beneath)}", hint="give one")
    merged: dict[str, Setting] = {}
    for part in (BASE, *(part for part in parts if part not in beneath)):
        _merge(merged, _load(part, arch, release).values())
    _merge(merged, extra)
    name = "+".join(sorted({Path(part).stem.lstrip(".") for part in parts})) or BASE
    (start, whole), *_ = [*beneath.items(), ("", "")]
    return Kconfig(name, MappingProxyType(merged), "" if whole else start, whole)


def _beneath(part: str) -> str | None:
    """Of a part that others are put on top of, its text, none of a defconfig; None of a fragment."""
    if _is_path(part):
        text = _text(Path(part).expanduser())
        return text if _GENERATED in text.splitlines()[:3] else None
    return "" if _DEFCONFIG.fullmatch(part) else None


def read_config(text: str) -> Mapping[str, str]:
    """The values of a final .config; a symbol that is not set is absent."""
    return {m[1]: m[2] for m in map(_SET.fullmatch, text.splitlines()) if m is not None}


def check_names(spec: str, arch: Arch) -> None:
    """UnknownNameError or ConfigError for a part of "a+b" that `arch` does not have."""
    everywhere = {path.stem.split(".")[0] for path in directory().glob("*.config")}
    for part in spec.split("+"):
        if _is_path(part) or _DEFCONFIG.fullmatch(part) or part in names(arch):
            continue
        if part in everywhere:
            raise ConfigError(f"the configuration {part} is not for {arch.name}")
        raise UnknownNameError("configuration", part, names(arch))


def _is_path(part: str) -> bool:
    return "/" in part or part.endswith(".config")


def _load(part: str, arch: Arch, release: tuple[int, int]) -> dict[str, Setting]:
    """A fragment with its overlays."""
    if _is_path(part):
        return {setting.symbol: setting for setting in _read(Path(part).expanduser())}
    check_names(part, arch)
    settings: dict[str, Setting] = {}
    for path in sorted(directory().glob(f"{part}.*"), key=lambda path: (path.stem.count("."), path.name)):
        suffix = path.stem.partition(".")[2]
        if suffix in ("", arch.name) or _fits(suffix.removeprefix(f"{arch.name}."), release):
            settings.update({setting.symbol: setting for setting in _read(path)})
    return settings


def _fits(suffix: str, release: tuple[int, int]) -> bool:
    """Whether an overlay like "since-6.12" is for `release`."""
    match = _OVERLAY.fullmatch(suffix)
    if match is None:
        return False
    limit = int(match[2]), int(match[3])
    return release >= limit if match[1] == "since" else release < limit


def _read(path: Path) -> tuple[Setting, ...]:
    return parse(_text(path), path.name if path.parent == directory() else str(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None


def _merge(merged: dict[str, Setting], settings: Iterable[Setting]) -> None:
    for setting in settings:
        known = merged.setdefault(setting.symbol, setting)
        if known.value != setting.value:
            raise ConfigError(
                f"conflicting values of {setting.symbol}",
                hint="drop one of the two fragments, or put the difference into an overlay",
                detail=f"{known.origin}: {known.line}\n{setting.origin}: {setting.line}",
            )


def explain(
    source: Path, environment: Mapping[str, str], final: Path, missing: Iterable[Setting]
) -> tuple[str, ...]:
    """For each setting that the kernel dropped, a line that says why.

    `source` is the kernel tree, `environment` what its Kconfig files read ($ARCH, $CC
    and so on) and `final` the .config that it ended with.  A shell command of Kconfig
    runs in the directory of `final`, where it may leave temporary files.
    """
    kconfig = load_kconfig(source, environment, final.parent)
    kconfig.load_config(str(final))
    return tuple(
        f"{setting} ({setting.origin}) was dropped: {_reason(kconfig, setting)}" for setting in missing
    )


def load_kconfig(source: Path, environment: Mapping[str, str], scratch: Path) -> Any:
    """The kernel's Kconfig files as a kconfiglib.Kconfig; ConfigError if it cannot read them."""
    try:
        return _bound(source, environment, scratch)("Kconfig", warn=False)
    except kconfiglib.KconfigError as error:
        raise ConfigError(f"{source}: its Kconfig cannot be read: {error}") from error


def _bound(source: Path, environment: Mapping[str, str], scratch: Path) -> Callable[..., Any]:
    """kconfiglib's class, taught what it cannot take as an argument or has not learned since 2020.

    It reads its tree and its variables from os.environ, runs shell commands by itself
    in the current directory, and knows none of: `modules` as a property of its own
    (5.13), `transitional` (6.18), `depends on A if B` (7.0).
    """
    variables = {**environment, "srctree": str(source)}
    prelude = "".join(f"{name} := {value}\n" for name, value in variables.items())

    class Bound(kconfiglib.Kconfig):  # type: ignore[misc]  # kconfiglib is untyped
        # kconfiglib assigns these in its constructor; here they are what we say.
        srctree = property(lambda _: str(source), lambda _, __: None)
        _srctree_prefix = property(lambda _: f"{source.resolve()}/", lambda _, __: None)
        _functions = property(lambda self: self._own_functions, lambda self, value: self._keep(value))
        _own_functions: dict[str, Any]

        def _keep(self, functions: dict[str, Any]) -> None:
            self._own_functions = {**functions, "shell": (shell, 1, 1)}

        def _open(self, filename: str, _mode: str) -> io.StringIO:
            text = Path(filename).read_text(encoding="utf-8")
            top = Path(filename) == source / "Kconfig"
            return io.StringIO((prelude if top else "") + "".join(_modernised(text)))

    def shell(_kconfig: Any, _name: str, command: str) -> str:
        done = run(
            ["sh", "-c", command],
            deadline=Deadline.after(_SHELL_LIMIT_S),
            cwd=scratch,
            env=variables,
            ok=None,
        )
        return " ".join(done.stdout.rstrip("\n").split("\n"))

    return Bound


def _modernised(text: str) -> Iterator[str]:
    """The lines of a Kconfig file in the language of 2020, as many as there were."""
    for line in text.splitlines(keepends=True):
        words = line.strip()
        if words == "modules":
            yield line.replace("modules", "option modules")
        elif words == "transitional":
            yield "\n"
        else:
            match = re.match(r"(\s*)depends on ([^#\n]+?)\s+if\s+([^#\n]+)", line)
            yield line if match is None else f"{match[1]}depends on ({match[2]}) || !({match[3].strip()})\n"


def _reason(kconfig: Any, setting: Setting) -> str:
    """Why `setting` is not what the loaded configuration has."""
    symbol = kconfig.syms.get(setting.symbol)
    if symbol is None or not symbol.nodes:
        near = difflib.get_close_matches(setting.symbol, kconfig.syms, n=1)
        return "this tree has no such symbol" + (f"; did you mean {near[0]}?" if near else "")
    became = f"it is {symbol.str_value or 'n'}"
    if setting.value == "n":
        selecting = [term for term in _terms(symbol.rev_dep, kconfiglib.OR) if kconfiglib.expr_value(term)]
        if selecting:
            return f"{became}: selected by {', '.join(map(_leading, selecting))}"
    wanted = {"y": 2, "m": 1}.get(setting.value, 1)
    conditions = [("depends on", symbol.direct_dep)]
    prompts = [node.prompt[1] for node in symbol.nodes if node.prompt]
    if len(prompts) == 1:
        conditions.append(("can be set only if", prompts[0]))
    for words, condition in conditions:
        unmet = [t for t in _terms(condition, kconfiglib.AND) if kconfiglib.expr_value(t) < wanted]
        if unmet:
            return " and ".join(f"{words} {_told(term)}" for term in unmet)
    if not prompts:
        if symbol.rev_dep is kconfig.n:
            return f"{became}: it cannot be set, its default decides"
        selectors = [_leading(term) for term in _terms(symbol.rev_dep, kconfiglib.OR)]
        return f"{became}: it cannot be set, only selected by {' or '.join(selectors[:5])}"
    if symbol.choice is not None and symbol.choice.selection not in (None, symbol):
        return f"{became}: its choice has {symbol.choice.selection.name}"
    return became


def _terms(expression: Any, operator: int) -> list[Any]:
    """The operands of a chain of one operator."""
    if isinstance(expression, tuple) and expression[0] == operator:
        return [term for operand in expression[1:] for term in _terms(operand, operator)]
    return [expression]


def _leading(term: Any) -> str:
    """The symbol that selects: the first operand of its condition."""
    return str(kconfiglib.expr_str(_terms(term, kconfiglib.AND)[0]))


def _told(term: Any) -> str:
    """An unmet condition with the values of its symbols."""
    text = kconfiglib.expr_str(term)
    values = {item.name: item.str_value for item in kconfiglib.expr_items(term) if not item.is_constant}
    if isinstance(term, tuple):
        return f"{text} ({', '.join(f'{name} is {value}' for name, value in sorted(values.items()))})"
    return f"{text}, which is {values.get(text, 'n')}"
