# SPDX-License-Identifier: GPL-2.0-only
"""The command line: the only place that prints results and exits."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import shlex
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.table import Table

from toolkit import archive, places, progress, saved
from toolkit.deadline import Deadline
from toolkit.errors import CrashError, HostError, InputError, PagelessError, StoreError
from toolkit.kernel import arch as arches
from toolkit.verdict import worst

INTERRUPTED = 130
# What the C library says of a full disk, and so every program that fails for it.
_FULL = os.strerror(errno.ENOSPC)
HOST_TROUBLE = 125

stderr = Console(stderr=True)
stdout = Console()


def main() -> NoReturn:
    """Run the command line and exit with the status of toolkit.errors' table."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # What whoever started us ignores (nohup) stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    sys.exit(run_with(sys.argv[1:]))


def run_with(argv: Sequence[str]) -> int:
    """Run a command line; returns its exit status, errors explained on stderr."""
    try:
        status = cli.main(args=list(argv), prog_name="pageless", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _complain("interrupted", hint="what was finished is kept: pageless list runs")
        return INTERRUPTED
    except PagelessError as error:
        full = isinstance(error, HostError) and _FULL in error.message + error.detail
        _complain(error.message, detail=error.detail, hint=_room() if full else error.hint)
        return error.exit_status
    except BrokenPipeError:
        # The reader of our output went away: nothing is wrong, and nothing can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return HOST_TROUBLE
    except OSError as error:
        hint = _room() if error.errno == errno.ENOSPC else ""
        _complain(f"{error.filename or 'the host'}: {error.strerror or error}", hint=hint)
        return HOST_TROUBLE
    except Exception as error:
        _complain(f"this is a bug of pageless: {type(error).__name__}: {error}", hint=_keep_traceback())
        return HOST_TROUBLE


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(signal.Signals(number).name)


def _complain(message: str, *, detail: str = "", hint: str = "") -> None:
    """One message: what and where, the lines that prove it, what next."""
    plain = {"markup": False, "highlight": False, "soft_wrap": True}
    stderr.print(f"pageless: error: {message}", **plain)  # type: ignore[arg-type]  # keyword flags
    for line in detail.rstrip().splitlines():
        stderr.print(f"    {line}", **plain)  # type: ignore[arg-type]
    if hint:
        stderr.print(f"pageless: hint: {hint}", **plain)  # type: ignore[arg-type]


def _room() -> str:
    """A hint for a full disk: where we write, and what is free there."""
    kept = {"XDG_CACHE_HOME": places.cache_dir(), "XDG_STATE_HOME": places.state_dir()}
    free = {name: f"{path} ({places.free_mib(path)} MiB free now)" for name, path in kept.items()}
    return f"free some space below {' and '.join(free.values())}, or set {' and '.join(free)} to larger disks"


def _keep_traceback() -> str:
    """Write the traceback where it can be sent from; a hint that says where."""
    path = places.state_dir() / "traceback.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(traceback.format_exc(), encoding="utf-8")
    except OSError:
        return "run again with -v for what led to it"
    return f"please report it with {path}"


def _print_json(value: object) -> None:
    click.echo(json.dumps(saved.to_plain(value), indent=1))


@contextlib.contextmanager
def _progress() -> Iterator[progress.Progress]:
    with progress.on(stderr) as shown:
        yield shown


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
kernel_option = click.option(
    "--kernel", "-k", default="6.1", show_default=True, help="A declared kernel, or a tree: PATH[@REV]."
)
series_option = click.option(
    "--series", "-s", default="none", show_default=True, help="A declared series, a path, or none."
)
arch_option = click.option(
    "--arch", "-a", default=lambda: _default_archs()[0], show_default="this host's", help="An architecture."
)
config_option = click.option(
    "--config",
    "-c",
    default="base",
    show_default=True,
    help="Fragments, joined by +: debug+kasan; on top of a defconfig or a .config, if one is among them.",
)


jobs_option = click.option(
    "--jobs",
    "-j",
    type=click.IntRange(min=1),
    help="Guests at a time.  [default: one per 2 CPUs, 2 at least]",
)


workers_option = click.option(
    "--workers",
    metavar="ADDRESS",
    help="Of a Dask scheduler, whose workers with a qemu resource run the guests.",
)


def _default_archs() -> tuple[str, ...]:
    """The one ARCH names, else all that are declared, this host's first."""
    wanted = os.environ.get("ARCH", "")
    known = arches.names()
    if wanted:
        for name in known:
            if wanted in (name, arches.load(name).kernel_arch):
                return (name,)
        raise InputError(
            f"ARCH={wanted} is not an architecture of this rig", hint=f"known: {', '.join(known)}"
        )
    return tuple(sorted(known, key=lambda name: (not arches.load(name).native, name)))


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("-v", "--verbose", is_flag=True, help="Show the commands that are run.")
@click.version_option(package_name="pageless")
def cli(verbose: bool) -> None:
    """Build, boot and judge zsmalloc patches on a QEMU-backed rig, against a reference model.

    \b
    Example:
      pageless run --series pageless-owner --arch arm64
    """
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.WARNING,
        format="pageless: %(message)s" if not verbose else "%(asctime)s %(name)s: %(message)s",
    )
    for noisy in ("paramiko", "asyncio", "qemu", "numba", "drgn"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)


@cli.command()
@click.option("--fix", is_flag=True, help="Install what is missing (needs root).")
@json_option
def doctor(fix: bool, as_json: bool) -> int:
    """Say what this host lacks, and the one command that mends it.

    \b
    Example:
      pageless doctor --fix
    """
    from toolkit import doctor as doctors

    findings = doctors.examine()
    packages = doctors.missing_packages(findings)
    if fix and packages:
        with _progress() as shown, shown.step(f"installing {' '.join(packages)}") as say:
            doctors.install(packages, say)
        findings = doctors.examine()
        packages = doctors.missing_packages(findings)
    if as_json:
        _print_json(findings)
    else:
        table = Table("", "what", "found", box=None)
        for finding in findings:
            table.add_row("ok" if finding.ok else "MISSING", finding.name, finding.found)
        stdout.print(table)
        if packages:
            stdout.print(
                f"to install what is missing: {' '.join(doctors.install_command(packages))}", soft_wrap=True
            )
    return 0 if all(finding.ok for finding in findings) else HOST_TROUBLE


@cli.command("list")
@click.argument(
    "what",
    type=click.Choice(["kernels", "series", "archs", "rigs", "workloads", "faults", "plans", "runs"]),
)
@json_option
def list_(what: str, as_json: bool) -> None:
    """List what is declared, or the runs that were kept.

    \b
    Example:
      pageless list workloads
    """
    rows = _listed(what)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    if not rows:
        stdout.print(f"no {what}")
        return
    table = Table(*rows[0], box=None)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    stdout.print(table)


def _listed(what: str) -> list[dict[str, Any]]:
    from toolkit import pipeline, plans
    from toolkit.kernel import faults, series, source
    from toolkit.rig import machine
    from toolkit.workload import catalogue

    match what:
        case "faults":
            return [
                {
                    "name": f.name,
                    "kernel": line,
                    "series": f.series,
                    "history": f.history,
                    "mark": f.mark,
                    "title": f.title,
                }
                for line in faults.lines()
                for f in (faults.load(line, name) for name in faults.names(line))
            ]
        case "kernels":
            return [
                {"name": s.name, "source": s.package or str(s.path), "suite": s.suite}
                for s in map(source.load, source.names())
            ]
        case "series":
            return [
                {"name": s.name, "kernels": " ".join(sorted(s.kernels)), "title": s.title}
                for s in map(series.load, series.names())
            ]
        case "archs":
            return [
                {
                    "name": arch.name,
                    "native": arch.native,
                    "qemu": arch.qemu,
                    "compiler": f"{arch.cross_compile}gcc",
                }
                for arch in map(arches.load, arches.names())
            ]
        case "rigs":
            return [
                {"name": rig.name, "cpus": rig.cpus, "memory_mib": rig.memory_mib}
                for rig in map(machine.load, machine.names())
            ]
        case "workloads":
            return [
                {"name": w.name, "suites": ",".join(sorted(w.suites)), "title": w.title}
                for w in map(catalogue.load, catalogue.names())
            ]
        case "plans":
            return [
                {"name": one.name, "cells": len(pipeline.plan_of(one, _default_archs())), "title": one.title}
                for one in map(plans.load, plans.names())
            ]
        case _:
            return [saved.to_plain(entry) for entry in archive.Archive.default().entries()]


@cli.command()
@click.argument("kernel")
@json_option
def fetch(kernel: str, as_json: bool) -> None:
    """Fetch a kernel's source and keep it.

    \b
    Example:
      pageless fetch 6.1
    """
    from toolkit import pipeline

    with _progress() as shown:
        tree = pipeline.fetch(kernel, shown)
    if as_json:
        _print_json(tree)
    else:
        stdout.print(
            f"{tree.name}: Linux {tree.version}, tree {tree.tree_id}", highlight=False, soft_wrap=True
        )


@cli.command()
@click.argument("series")
@kernel_option
@click.option("--check", is_flag=True, help="Only say whether it applies.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Write the patched tree into this new directory."
)
@json_option
def apply(series: str, kernel: str, check: bool, output: Path | None, as_json: bool) -> None:
    """Apply a series to a kernel's source, in a tree of its own.

    \b
    Example:
      pageless apply pageless-owner --kernel 6.1 --check
    """
    from toolkit import pipeline
    from toolkit.kernel import series as serieses

    with _progress() as shown:
        tree = pipeline.patched(kernel, series, shown)
        if output is not None and not check:
            with shown.step(f"writing {output}"):
                pipeline.export(tree, output)
    if as_json:
        _print_json(tree)
    else:
        stdout.print(
            f"{series} applies to Linux {tree.version}: tree {tree.tree_id}", highlight=False, soft_wrap=True
        )
        if remark := serieses.drift(tree, serieses.load(series)):
            stdout.print(remark, highlight=False)


@cli.command()
@kernel_option
@series_option
@arch_option
@config_option
@json_option
def build(kernel: str, series: str, arch: str, config: str, as_json: bool) -> None:
    """Build a kernel, or find it in the store.

    \b
    Example:
      pageless build --series pageless-owner --arch arm64
    """
    from toolkit import pipeline

    with _progress() as shown:
        _tree, built = pipeline.built(pipeline.Target(kernel, series, arch, config), shown)
    if as_json:
        _print_json(built)
    else:
        stdout.print(f"Linux {built.release} for {arch}: {built.image}", highlight=False, soft_wrap=True)


@cli.command()
@kernel_option
@series_option
@arch_option
@config_option
@click.option("--rig", default="default", show_default=True, help="A machine of rigs/.")
@click.option("--exec", "command", help="Run this in the guest and exit with its status.")
@click.option(
    "--deadline", "deadline_s", type=float, default=600.0, help="Of --exec, in seconds.  [default: 600]"
)
@click.option(
    "--template/--no-template", default=True, help="Start a clone of a booted guest, or boot for real."
)
def boot(
    kernel: str,
    series: str,
    arch: str,
    config: str,
    rig: str,
    command: str | None,
    deadline_s: float,
    template: bool,
) -> int:
    """Boot a guest: an interactive shell, or one command.

    \b
    Example:
      pageless boot --arch arm64 --exec 'uname -a'
    """
    from toolkit import pipeline
    from toolkit.rig import machine

    if command is None and not sys.stdin.isatty():
        raise InputError("an interactive shell needs a terminal", hint="give a command: --exec 'uname -a'")
    machine_wanted = machine.load(rig)
    with contextlib.ExitStack() as stack:
        with _progress() as shown:
            _tree, kernel_built = pipeline.built(pipeline.Target(kernel, series, arch, config), shown)
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pageless-")))
            with shown.step(f"start {arch}") as say:
                guest = stack.enter_context(
                    pipeline.started(
                        kernel_built, arches.load(arch), machine_wanted, directory, clone=template, say=say
                    )
                )
        if command is None:
            return guest.interact()
        output = guest.execute(command, deadline=Deadline.after(deadline_s), ok=None)
        sys.stdout.buffer.write(output.stdout)
        sys.stderr.buffer.write(output.stderr)
        return output.status


@cli.command()
@click.option(
    "--kernel", "-k", "kernels", multiple=True, default=["6.1"], show_default=True, help="Repeatable."
)
@click.option(
    "--series",
    "-s",
    "series_names",
    multiple=True,
    default=["none", "pageless-owner"],
    show_default=True,
    help="Repeatable; none is the baseline.",
)
@click.option("--arch", "-a", "archs", multiple=True, help="Repeatable.  [default: all, or ARCH]")
@click.option(
    "--workload",
    "-w",
    "workloads",
    multiple=True,
    default=["quick"],
    show_default=True,
    help="Workloads or suites.",
)
@config_option
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of all that is random."
)
@click.option(
    "--repeat", type=click.IntRange(min=1), default=1, show_default=True, help="Runs of every cell."
)
@jobs_option
@click.option(
    "--template/--no-template", default=True, help="Start clones of a booted guest, or boot each cell."
)
@click.option(
    "--record", is_flag=True, help="Then do the same on one processor, recorded, to be replayed exactly."
)
@click.option(
    "--explore",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Record up to N schedules, by seed; keep the first that fails.",
)
@click.option("--minutes", type=click.FloatRange(min=0.5), help="How long a soak goes on.  [default: 30]")
@json_option
def run(
    kernels: tuple[str, ...],
    series_names: tuple[str, ...],
    archs: tuple[str, ...],
    workloads: tuple[str, ...],
    config: str,
    seed: int,
    repeat: int,
    jobs: int | None,
    template: bool,
    record: bool,
    explore: int,
    minutes: float | None,
    as_json: bool,
) -> int:
    """Build, boot, exercise and judge every cell of the product: the main job.

    \b
    Example:
      pageless run --series none --series pageless-owner --workload quick
    """
    from toolkit import pipeline

    if minutes is not None:
        # Read where the workload is declared, by whatever process runs it.
        os.environ["PAGELESS_SOAK_MINUTES"] = str(minutes)
    cells = pipeline.plan(
        kernels=kernels,
        series=series_names,
        archs=archs or _default_archs(),
        config=config,
        workloads=workloads,
        seed=seed,
        repeat=repeat,
    )
    kept = archive.Archive.default()
    with _progress() as shown:
        kept_run, outcome = pipeline.execute(
            kept,
            cells,
            argv=["pageless", *sys.argv[1:]],
            jobs=jobs or pipeline.default_jobs(),
            clone=template,
            progress=shown,
        )
        found = (
            list(pipeline.record(kept_run, cells, explore=explore, progress=shown))
            if record or explore
            else []
        )
    _show(kept_run, outcome, as_json)
    for each in found:
        _show_recorded(kept_run.id, each)
    failed = [CrashError.exit_status if each.failure.fatal else 1 for each in found if each.failure]
    return outcome.exit_status or max(failed, default=0)


def _show_recorded(run_id: str, found: Any) -> None:
    """A recording on stderr, so that --json stays what it is."""
    tried = f", the {found.tried}. schedule" if found.recording.schedule.seed else ""
    what = f"{found.failure.what}{tried}" if found.failure else f"nothing went wrong ({found.tried} tried)"
    plain = {"markup": False, "highlight": False, "soft_wrap": True}
    stderr.print(f"recorded {found.recording.title}: {what}", **plain)  # type: ignore[arg-type]
    stderr.print(f"    it is in {found.recording.directory}", **plain)  # type: ignore[arg-type]
    stderr.print(f"    pageless replay {run_id} --cell {shlex.quote(found.cell.label)}", **plain)  # type: ignore[arg-type]


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED)
def test(arguments: tuple[str, ...]) -> int:
    """Run kernel tests, and workloads as tests, with pytest; all arguments are pytest's.

    \b
    Example:
      pageless test rigs/tests --arch arm64 --series pageless-owner --junitxml=tests.xml
    """
    import pytest

    # Of pytest's own statuses: 2 is an interrupt, 3 trouble of its own, 4 usage, 5 that no test was found.
    return {0: 0, 1: 1, 2: INTERRUPTED, 4: 2}.get(
        pytest.main(["-p", "toolkit.pytest_plugin", *arguments]), 125
    )


@cli.command()
@kernel_option
@series_option
@click.option("--arch", "-a", "archs", multiple=True, help="Repeatable.  [default: all, or ARCH]")
@click.option("--workload", "-w", "suite", default="smoke", show_default=True, help="For a changed kernel.")
@config_option
@click.option(
    "--ops", type=click.IntRange(min=1), default=50_000, show_default=True, help="Simulated operations."
)
@click.option("--once", is_flag=True, help="End after the first change was looked at, with its status.")
def watch(
    kernel: str, series: str, archs: tuple[str, ...], suite: str, config: str, ops: int, once: bool
) -> int:
    """Simulate, build and run the affected tests whenever a file of the tree or series changes.

    \b
    Example:
      pageless watch --kernel ~/linux --arch x86_64
    """
    from toolkit import pipeline
    from toolkit import watch as watches

    common = ["--kernel", kernel, "--series", series]
    wanted = [word for arch in archs or _default_archs() for word in ("--arch", arch)]
    # Unknown names are told now, not after the first change.
    pipeline.plan(
        kernels=[kernel],
        series=[series],
        archs=archs or _default_archs(),
        config=config,
        workloads=[suite],
        seed=1,
        repeat=1,
    )
    watched = watches.Watched.of(kernel, series)
    stderr.print(f"watching {', '.join(map(str, watched.paths))}", markup=False, soft_wrap=True)
    for changed in watches.changes(watched):
        stderr.print(f"changed: {', '.join(sorted(path.name for path in changed))}", markup=False)
        affected = watched.affected(changed, suite)
        status = run_with(["sim", *common, "--ops", str(ops)]) if affected.simulate else 0
        # What differs from the model alone needs no kernel to be built.
        if status == 0 and affected.workloads:
            tests = [word for name in affected.workloads for word in ("--workload", name)]
            status = run_with(["run", *common, *wanted, *tests, "--config", config])
        if status == INTERRUPTED or once:
            return status
    return 0


@cli.command()
@kernel_option
@click.option(
    "--series",
    "-s",
    "series_names",
    multiple=True,
    default=["none", "pageless-owner"],
    show_default=True,
    help="Repeatable; the first is what the others are compared with.",
)
@click.option("--arch", "-a", "archs", multiple=True, help="Repeatable.  [default: all, or ARCH]")
@config_option
@json_option
def count(
    kernel: str, series_names: tuple[str, ...], archs: tuple[str, ...], config: str, as_json: bool
) -> None:
    """Count the instructions that zsmalloc's operations take: exact, on however busy a host.

    \b
    Example:
      pageless count --series none --series pageless-owner --arch arm64
    """
    from toolkit import pipeline
    from toolkit.rig import counting

    with _progress() as shown:
        found = {
            arch: {
                name: pipeline.count(pipeline.Target(kernel, name, arch, config), shown)
                for name in dict.fromkeys(series_names)
            }
            for arch in dict.fromkeys(archs or _default_archs())
        }
    if as_json:
        _print_json(found)
        return
    for arch, by_series in found.items():
        table = Table("operation", title=f"{arch}: instructions a call, median (5 to 95 %)", box=None)
        for name in by_series:
            table.add_column(name, justify="right")
        first = next(iter(by_series.values()))
        for operation in counting.OPERATIONS:
            cells = []
            for costs in by_series.values():
                cost = costs[operation]
                change = "" if costs is first else f" {cost.median / first[operation].median - 1:+.1%}"
                calls = f"{cost.calls} calls"
                cells.append(f"{cost.median:.0f} ({cost.low:.0f} to {cost.high:.0f}, {calls}){change}")
            table.add_row(operation, *cells)
        stdout.print(table)


@cli.command("replay")
@click.argument("recorded", metavar="RUN|DIRECTORY")
@click.option("--cell", help="Part of a cell's name.  [default: the only one that was recorded]")
@click.option("--times", type=click.IntRange(min=1), default=1, show_default=True, help="How often.")
@click.option("--gdb", is_flag=True, help="Wait for a debugger instead, which sees every instruction again.")
@click.option(
    "--before",
    type=click.IntRange(min=0),
    metavar="N",
    help="With --gdb: stand N instructions before the failure shows, and not at the start.",
)
@click.option("--deadline", "deadline_s", type=float, default=900.0, show_default=True, help="Of one replay.")
def replay_recording(
    recorded: str, cell: str | None, times: int, gdb: bool, before: int | None, deadline_s: float
) -> int:
    """Follow a recording again, exactly: compare its console, or look at it with gdb.

    \b
    Example:
      pageless replay last --times 10
      pageless replay last --gdb --before 100000
    """
    from toolkit import pipeline
    from toolkit.rig import recording

    made = pipeline.find_recording(archive.Archive.default(), recorded, cell)
    if before is not None and not gdb:
        raise InputError("--before is for a debugger", hint="give --gdb too")
    plain = {"markup": False, "highlight": False, "soft_wrap": True}
    failure = made.failure()
    stdout.print(f"{made.title}: {failure.what if failure else 'nothing went wrong'}", **plain)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory(prefix="pageless-") as name, _progress() as shown:
        directory = Path(name)
        if gdb:
            return _debug(made, directory, before, shown)
        same = 0
        for turn in range(times):
            (directory / str(turn)).mkdir()
            with shown.step(f"replay {turn + 1} of {times}"):
                console = recording.replay(made, directory / str(turn), Deadline.after(deadline_s))
            same += console == made.console.read_bytes()
    stdout.print(f"the same console, byte for byte: {same} of {times}", **plain)  # type: ignore[arg-type]
    return 0 if same == times else 1


def _debug(made: Any, directory: Path, before: int | None, shown: progress.Progress) -> int:
    """Hold a replay for gdb until gdb ends it, or we are interrupted."""
    from toolkit.rig import recording

    socket = directory / "gdb"
    with recording.replaying(made, directory, gdb=socket) as qemu:
        if before is not None:
            with shown.step("looking for the moment"):
                (directory / "moment").mkdir()
                instruction = recording.move_before_failure(made, qemu, directory / "moment", before)
            stdout.print(f"after {instruction} instructions, {before} before the failure shows")
        debugger = "gdb" if made.setup().arch.native else "gdb-multiarch"
        argv = [debugger, str(made.vmlinux), "-ex", f"target remote {socket}"]
        stdout.print(shlex.join(argv), markup=False, highlight=False, soft_wrap=True)
        stdout.print("it ends with gdb's kill, or Ctrl-C here")
        while not qemu.wait_gone(Deadline.after(1.0)):
            pass
    return 0


@cli.command()
@click.argument("name", metavar="PLAN")
@click.option(
    "--arch", "-a", "archs", multiple=True, help="Where the plan names none.  [default: all, or ARCH]"
)
@jobs_option
@workers_option
@click.option("--dry-run", is_flag=True, help="Only list the cells.")
@json_option
def plan(
    name: str, archs: tuple[str, ...], jobs: int | None, workers: str | None, dry_run: bool, as_json: bool
) -> int:
    """Run the cells of a plan: a name of configs/plans/, or a TOML file.

    \b
    Example:
      pageless plan everywhere --arch arm64 --dry-run
    """
    from toolkit import pipeline, plans

    cells = pipeline.plan_of(plans.load(name), archs or _default_archs())
    if dry_run:
        if as_json:
            _print_json(cells)
        else:
            for cell in cells:
                stdout.print(cell.label, highlight=False, soft_wrap=True)
        return 0
    return _execute(cells, jobs, workers, as_json)


@cli.command()
@click.argument("run_id", metavar="RUN")
@jobs_option
@workers_option
@json_option
def resume(run_id: str, jobs: int | None, workers: str | None, as_json: bool) -> int:
    """Go on with a run that was interrupted: the cells that have no record, or only trouble of the host.

    \b
    Example:
      pageless resume last
    """
    kept_run = archive.Archive.default().find(run_id)
    return _execute(kept_run.plan().cells, jobs, workers, as_json, resumed=kept_run)


def _execute(
    cells: Sequence[Any], jobs: int | None, workers: str | None, as_json: bool, resumed: Any = None
) -> int:
    from toolkit import pipeline
    from toolkit.crew import Cluster

    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(Cluster(workers)) if workers else None
        shown = stack.enter_context(_progress())
        kept_run, outcome = pipeline.execute(
            archive.Archive.default(),
            cells,
            argv=["pageless", *sys.argv[1:]],
            jobs=jobs or pipeline.default_jobs(),
            clone=True,
            progress=shown,
            resumed=resumed,
            cluster=cluster,
        )
    _show(kept_run, outcome, as_json)
    return int(outcome.exit_status)


@cli.command()
@click.argument("name", metavar="SERIES")
@kernel_option
@click.option("--arch", "-a", "archs", multiple=True, help="Repeatable.  [default: all, or ARCH]")
@config_option
@click.option(
    "--workload",
    "-w",
    "workloads",
    multiple=True,
    default=["smoke"],
    show_default=True,
    help="Workloads or suites.",
)
@click.option("--patches", metavar="FIRST-LAST", help="Only these, counted from 1.  [default: all]")
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Runs of every cell; from 2 on the noise of a metric is known.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of all that is random."
)
@jobs_option
@json_option
def patchcheck(
    name: str,
    kernel: str,
    archs: tuple[str, ...],
    config: str,
    workloads: tuple[str, ...],
    patches: str | None,
    repeat: int,
    seed: int,
    jobs: int | None,
    as_json: bool,
) -> int:
    """Build, boot and exercise every patch of a series: which one breaks, grows or moves what.

    A new compiler warning (W=1) fails only in a file that the patch touches.  A metric is said to
    move where it leaves three times what the repeats of any step differ by.

    \b
    Example:
      pageless patchcheck pageless-owner --patches 7-11
    """
    from toolkit import patchcheck as patchchecks
    from toolkit import pipeline
    from toolkit.patchcheck import text

    kept = archive.Archive.default()
    with _progress() as shown:
        kept_run, outcome, found = patchchecks.check(
            kept,
            kernel=kernel,
            name=name,
            archs=archs or _default_archs(),
            config=config,
            workloads=workloads,
            seed=seed,
            repeat=repeat,
            numbers=_numbers(patches, "patches") if patches is not None else None,
            argv=["pageless", *sys.argv[1:]],
            jobs=jobs or pipeline.default_jobs(),
            progress=shown,
        )
    if as_json:
        _print_json(found)
        return found.status.exit_status
    _show(kept_run, outcome, as_json=False)
    for line in ("", *text.lines(found)):
        stdout.print(line, markup=False, highlight=False, soft_wrap=True)
    stdout.print(f"{found.status.value.upper()}: {len(found.steps)} steps", highlight=False)
    return found.status.exit_status


bisect_options = [
    arch_option,
    config_option,
    click.option(
        "--workload",
        "-w",
        "workloads",
        multiple=True,
        default=["quick"],
        show_default=True,
        help="Workloads or suites.",
    ),
    click.option(
        "--check",
        "pattern",
        default="",
        metavar="GLOB",
        help="What counts as bad, matched with 'check: summary' of each failed check; other failures "
        "are foreign.  [default: what the first failures of the last step show]",
    ),
    click.option(
        "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of the first run."
    ),
    click.option(
        "--jobs", "-j", type=click.IntRange(min=1), default=1, show_default=True, help="Guests at a time."
    ),
]


def _with_bisect_options(command: Any) -> Any:
    for option in reversed(bisect_options):
        command = option(command)
    return command


@cli.command()
@click.argument("target", metavar="SERIES|TREE@GOOD..BAD")
@kernel_option
@_with_bisect_options
@click.option(
    "--confidence", type=click.FloatRange(0.5, 0.9999), default=0.97, show_default=True, help="To stop at."
)
@click.option("--runs", "limit", type=click.IntRange(min=1), default=200, show_default=True, help="At most.")
@json_option
def bisect(
    target: str,
    kernel: str,
    arch: str,
    config: str,
    workloads: tuple[str, ...],
    pattern: str,
    seed: int,
    jobs: int,
    confidence: float,
    limit: int,
    as_json: bool,
) -> int:
    """Find the patch of a series, or the commit of a range, that brought a trouble.

    Not every run has to show it: each run shifts what is believed of every step, and the next one
    goes where it teaches most, until one step is the first bad one with --confidence.

    \b
    Example:
      pageless bisect ~/linux@v6.1..topic --workload churn --check 'content/*'
    """
    from toolkit import bisection

    with _progress() as shown:
        steps = bisection.steps_of(target, kernel, shown)
        found = bisection.bisect(
            archive.Archive.default(),
            steps,
            arch=arch,
            config=config,
            workloads=workloads,
            trouble=bisection.Trouble(pattern),
            confidence=confidence,
            limit=limit,
            seed=seed,
            jobs=jobs,
            argv=["pageless", *sys.argv[1:]],
            progress=shown,
        )
    if as_json:
        _print_json(found)
    else:
        plain: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}
        for title, probability in found.suspects:
            stdout.print(f"{probability:6.1%}  {title}", **plain)
        stdout.print(f"{found.runs} runs, {found.rate:.0%} of those of a bad step show it", **plain)
        for name, texts in (
            ("shows as", found.signatures),
            ("set apart", found.foreign),
            ("cannot test", found.untestable),
        ):
            for text in texts:
                stdout.print(f"{name}: {text}", **plain)
    if not found.certain:
        _complain(f"after {found.runs} runs no step is the first bad one with {confidence:.0%}")
    return 0 if found.certain else HOST_TROUBLE


@cli.command("bisect-step")
@kernel_option
@series_option
@_with_bisect_options
@click.option("--runs", type=click.IntRange(min=1), default=5, show_default=True, help="That vote.")
def bisect_step(
    kernel: str,
    series: str,
    arch: str,
    config: str,
    workloads: tuple[str, ...],
    pattern: str,
    seed: int,
    jobs: int,
    runs: int,
) -> int:
    """Say good (0), bad (1) or cannot test (125) of one tree, for git bisect run.

    \b
    Example:
      git bisect run pageless bisect-step --kernel . --workload churn --runs 8 --check 'content/*'
    """
    from toolkit import bisection

    with _progress() as shown:
        vote = bisection.vote(
            archive.Archive.default(),
            bisection.Step(kernel, series, kernel),
            arch=arch,
            config=config,
            workloads=workloads,
            trouble=bisection.Trouble(pattern),
            runs=runs,
            seed=seed,
            jobs=jobs,
            argv=["pageless", *sys.argv[1:]],
            progress=shown,
        )
    stdout.print(vote.value)
    return {"good": 0, "bad": 1}.get(vote.value, HOST_TROUBLE)


def _release(kernel: str) -> str:
    """The release of a kernel, "6.1", which only the tree tells of one that is not called so."""
    from toolkit import pipeline

    if re.fullmatch(r"\d+\.\d+", kernel):
        return kernel
    with _progress() as shown:
        return pipeline.fetch(kernel, shown).line


def _numbers(text: str, what: str) -> tuple[int, int]:
    """ "7-11" or "7"."""
    first, _, last = text.partition("-")
    if not (first.isdecimal() and (last or first).isdecimal()):
        raise InputError(f"{text!r} is no range of {what}", hint=f"--{what} 7-11, or --{what} 7")
    return int(first), int(last or first)


@cli.command()
@click.argument("run_id", metavar="RUN")
@json_option
def judge(run_id: str, as_json: bool) -> int:
    """Judge a run again from its saved evidence, without a guest.

    \b
    Example:
      pageless judge last
    """
    from toolkit import pipeline

    kept = archive.Archive.default()
    kept_run = kept.find(run_id)
    with _progress() as shown, shown.step(f"judging {kept_run.id}") as say:
        outcome = pipeline.judge_again(kept, kept_run, say)
    _show(kept_run, outcome, as_json)
    return outcome.exit_status


@cli.command()
@click.argument("target", metavar="RUN|CORE|SOCKET")
@click.option(
    "--vmlinux",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The guest's kernel with debug information.  [default: the one in the store that fits]",
)
@json_option
def inspect(target: str, vmlinux: Path | None, as_json: bool) -> int:
    """Walk every pool, class, zspage and page in a guest's memory, and check what zsmalloc must hold true.

    RUN is a run with --config inspect: its checkpoints and cores.  CORE is an ELF file of
    QEMU's dump-guest-memory.  SOCKET is a QMP socket of a QEMU with -device vmcoreinfo,
    whose guest is stopped meanwhile.

    \b
    Example:
      pageless inspect last
    """
    from toolkit import pipeline

    with _progress() as shown, shown.step(f"inspecting {target}"):
        looks = pipeline.inspect(archive.Archive.default(), target, vmlinux)
    if as_json:
        _print_json(looks)
    for where, look in looks.items():
        if as_json:
            break
        found = [f"{finding.rule}: {finding}" for finding in look.findings]
        pools = ", ".join(f"{p.name} ({p.objects} objects, {p.pages} pages)" for p in look.pools) or "no pool"
        total = sum(look.looked.values())
        stdout.print(f"{where}: Linux {look.release}, {pools}", highlight=False, markup=False, soft_wrap=True)
        for line in (
            f"{total} things looked at, {len(found)} not as they must be",
            *(f"held: {lock}" for lock in look.busy),
            *look.notes,
            *found,
        ):
            stdout.print(f"    {line}", highlight=False, markup=False, soft_wrap=True)
    return worst(look.status for look in looks.values()).exit_status


@cli.command()
@click.argument("run_ids", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "junit", "kcidb", "ktap", "mail"]),
    default="table",
    show_default=True,
    help="Print a run for another tool, or for a mailing list.",
)
@json_option
def report(run_ids: tuple[str, ...], form: str, as_json: bool) -> int:
    """Show runs again, and write their HTML page and JUnit file anew.

    \b
    Example:
      pageless report last
      pageless report last --format ktap
    """
    from toolkit import pipeline
    from toolkit.report import junit, kcidb, ktap, mail

    kept = archive.Archive.default()
    worst = 0
    for kept_run in [kept.find(run_id) for run_id in run_ids]:
        if not kept_run.verdict_file.exists():
            raise StoreError(
                f"run {kept_run.id} did not end", hint=f"judge what there is: pageless judge {kept_run.id}"
            )
        outcome = kept_run.outcome()
        pipeline.write_reports(kept_run, outcome)
        plan = kept_run.plan()
        if form == "table":
            _show(kept_run, outcome, as_json)
        elif form == "junit":
            click.echo(junit.xml(plan, outcome))
        else:
            text = {"kcidb": kcidb.text, "ktap": ktap.text, "mail": mail.text}[form](plan, outcome)
            click.echo(text, nl=False)
        worst = max(worst, outcome.exit_status)
    return worst


@cli.command("b4-check")
@click.option("--kernel", "-k", default=".", show_default=True, help="A declared kernel, or a tree.")
@click.option("--series", "-s", "name", help="The series.  [default: that of the mail on stdin, by b4]")
@click.option("--arch", "-a", "archs", multiple=True, help="Repeatable.  [default: all, or ARCH]")
@click.option("--workload", "-w", "workloads", multiple=True, help="Run these in guests, too: minutes.")
@click.option("--ops", type=click.IntRange(min=1), default=50_000, show_default=True, help="In user space.")
def b4_check(
    kernel: str, name: str | None, archs: tuple[str, ...], workloads: tuple[str, ...], ops: int
) -> int:
    """Check a series that b4 has under review: a mail on stdin, JSON on stdout.

    \b
    Example:
      cd linux && git config b4.review-series-check-cmd 'pageless b4-check --workload smoke'
    """
    from toolkit import pipeline, review

    wanted = name or review.series_of(sys.stdin.buffer.read())
    with _progress() as shown:
        results = review.check(
            archive.Archive.default(),
            kernel=kernel,
            series=wanted,
            archs=archs or _default_archs(),
            workloads=workloads,
            operations=ops,
            argv=["pageless", *sys.argv[1:]],
            jobs=pipeline.default_jobs(),
            progress=shown,
        )
    _print_json(results)
    return 1 if any(result.status == "fail" for result in results) else 0


@cli.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--metric", "pattern", default="", help="Only those that have this in their name.")
@click.option(
    "--alpha", type=click.FloatRange(0.001, 0.5), default=0.05, show_default=True, help="False discoveries."
)
@json_option
def compare(a: str, b: str, pattern: str, alpha: float, as_json: bool) -> int:
    """Say which metrics differ between two runs (RUN, or RUN:SERIES), seeds and repeats pooled.

    Shifts are Hodges and Lehmann's, p is exact, and corrected for all metrics that were tested.
    Groups of cells with fewer than 4 repeats on a side are not compared.

    \b
    Example:
      pageless run --series none --series pageless-owner --workload fill --repeat 5
      pageless compare last:none last:pageless-owner
    """
    from toolkit import comparison

    kept = archive.Archive.default()
    with _progress() as shown, shown.step(f"compare {a} with {b}"):
        found = comparison.compare(
            comparison.side(kept, a), comparison.side(kept, b), alpha=alpha, pattern=pattern
        )
    if as_json:
        _print_json(found)
    else:
        for one in found.shifts:
            stdout.print(
                f"{one.group} {one.metric}: {one.medians[0]:g} -> {one.medians[1]:g}, shift {one.shift:+g}"
                f" ({one.low:+g} to {one.high:+g}), p {one.p:.2g}, q {one.q:.2g},"
                f" repeats {one.repeats[0]} and {one.repeats[1]}",
                markup=False, highlight=False, soft_wrap=True,
            )  # fmt: skip
        for group in found.too_few:
            stdout.print(f"not enough runs: {group}", markup=False, highlight=False, soft_wrap=True)
        stdout.print(
            f"{len(found.shifts)} of {found.tested} metrics that vary differ;"
            f" {found.unchanged} more are the same in every run",
            highlight=False,
        )
    return 0 if found.tested or found.unchanged else HOST_TROUBLE


@cli.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@json_option
def census(runs: tuple[str, ...], as_json: bool) -> None:
    """Say who locks tail pages, by what the kernels of these runs counted.

    The head is that of a compound page or another, which a descriptor poses as.  Of folio_lock,
    only what poses as a folio is counted.

    \b
    Example:
      pageless run --series census --series pageless-owner+census --config movers --workload census
      pageless census last
    """
    from toolkit import census

    kept = archive.Archive.default()
    found = census.tabulate(kept.find(name) for name in runs)
    if as_json:
        _print_json(found)
        return
    table = Table("caller", "function", "head", *(column.title for column in found.columns), box=None)
    for row in found.rows:
        lock = row.lock
        table.add_row(lock.caller, lock.function, lock.head, *(str(count or "") for count in row.counts))
    stdout.print(table, crop=False, width=max(stdout.width, 50 + 30 * len(found.columns)))


@cli.command()
@click.argument("metric")
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="So many of the newest runs."
)
@json_option
def history(metric: str, limit: int, as_json: bool) -> None:
    """Follow one metric through the runs that were kept.

    \b
    Example:
      pageless history vmstat/pgmigrate_success
    """
    from toolkit import comparison

    with _progress() as shown, shown.step(f"look for {metric}"):
        points = comparison.history(archive.Archive.default(), metric, limit=limit)
    if as_json:
        _print_json(points)
        return
    for one in points:
        spread = f" ({one.low} to {one.high} in {one.repeats})" if one.repeats > 1 else ""
        stdout.print(
            f"{one.run}  {one.median:g}{spread}  {one.cell}", markup=False, highlight=False, soft_wrap=True
        )


@cli.group()
def series() -> None:
    """Look at a series itself.

    \b
    Example:
      pageless series lint pageless-owner
    """


@series.command()
@click.argument("name", metavar="SERIES")
@kernel_option
@click.option("--arch", "-a", "archs", multiple=True, help="Repeatable.  [default: all, or ARCH]")
@config_option
@json_option
def lint(name: str, kernel: str, archs: tuple[str, ...], config: str, as_json: bool) -> int:
    """Say what the patched zsmalloc touches of struct page beyond what its variant allows.

    \b
    Example:
      pageless series lint pageless-owner --kernel 6.1
    """
    from toolkit import pipeline

    found: dict[str, Any] = {}
    with _progress() as shown:
        for arch in archs or _default_archs():
            _tree, found[arch] = pipeline.lint(pipeline.Target(kernel, name, arch, config), shown)
    if as_json:
        _print_json(found)
    for arch, touched in found.items():
        if not as_json:
            for touch in touched:
                stdout.print(f"{arch}: {touch}", highlight=False, soft_wrap=True)
            stdout.print(f"{arch}: {len(touched)} touches beyond the variant", highlight=False)
    return 1 if any(found.values()) else 0


@cli.command()
@kernel_option
@series_option
@click.option("--page-size", type=int, default=4096, show_default=True, help="In bytes.")
@click.option(
    "--ops", type=click.IntRange(min=1), default=100_000, show_default=True, help="How many operations."
)
@click.option(
    "--together",
    "cases",
    type=click.IntRange(min=0),
    default=300,
    show_default=True,
    help="How many cases of several CPUs at once.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Of the operations, and of who comes when.",
)
@click.option("--deadline", "deadline_s", type=float, default=600.0, show_default=True, help="In seconds.")
@json_option
def sim(
    kernel: str, series: str, page_size: int, ops: int, cases: int, seed: int, deadline_s: float,
    as_json: bool,
) -> int:  # fmt: skip
    """Run a tree's own mm/zsmalloc.c in user space beside the model, before any kernel is built.

    Then several CPUs work on a pool at once; they take turns as the seed says, so that what
    was found is found again.

    \b
    Example:
      pageless sim --kernel ~/linux --ops 1000000 --together 10000
    """
    from toolkit import pipeline

    with _progress() as shown:
        done = pipeline.simulate(
            kernel,
            series,
            page_size=page_size,
            operations=ops,
            cases=cases,
            seed=seed,
            deadline_s=deadline_s,
            progress=shown,
        )
    if as_json:
        _print_json(done)
    else:
        found = done.difference
        stdout.print(f"mm/zsmalloc.c, sha256 {done.sha256}", highlight=False, soft_wrap=True)
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(done.simulation.done.items()))
        stdout.print(f"done: {counts}", highlight=False, soft_wrap=True)
        if done.exploration is not None:
            counts = ", ".join(f"{count} {kind}" for kind, count in sorted(done.exploration.done.items()))
            told = f"done at once, in {done.exploration.cases} cases: {counts}"
            stdout.print(told, highlight=False, soft_wrap=True)
        if found is not None:
            who = "the tree and the model differ" if done.exploration is None else "CPUs get into trouble"
            stdout.print(f"{who}: {found.what}", markup=False, soft_wrap=True)
            if found.expected or found.seen:
                stdout.print(f"    expected {found.expected}", markup=False, soft_wrap=True)
                stdout.print(f"    seen     {found.seen}", markup=False, soft_wrap=True)
            stdout.print(found.detail, markup=False, soft_wrap=True)
            stdout.print(f"as a test, with {len(found.requests)} operations:", markup=False)
            stdout.print(done.as_pytest(), markup=False, highlight=False, soft_wrap=True)
        elif done.never_done:
            kinds = ", ".join(done.never_done)
            stdout.print(
                f"never done: {kinds}: this proves nothing, give more --ops or --together", markup=False
            )
        stdout.print(done.status.value.upper())
    return done.status.exit_status


@cli.command()
@click.argument("names", metavar="[FAULT]...", nargs=-1)
@kernel_option
@series_option
@click.option("--arch", "-a", help="An architecture.  [default: this host's, or ARCH]")
@click.option("--workload", "-w", "workloads", multiple=True, default=["quick", "races", "full"],
              show_default=True, help="Workloads or suites that look for them.")  # fmt: skip
@click.option("--config", "-c", help="Fragments for all.  [default: what each fault says]")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of the workloads.")
@click.option("--sim/--no-sim", default=True, help="Begin with mm/zsmalloc.c in user space.")
@click.option("--guests/--no-guests", default=True, help="Go on with kernels, or leave it at user space.")
@click.option("--results", type=click.Path(path_type=Path, dir_okay=False),
              help="Where findings are kept, and looked up.  [default: below $XDG_STATE_HOME]")  # fmt: skip
@click.option("--again", multiple=True, type=click.Choice(["survived", "error", "killed", "same", "unbuilt"]),
              help="Try those once more that ended so.  Repeatable.")  # fmt: skip
@click.option("--show", is_flag=True, help="Only show what was found before.")
@json_option
def mutate(
    names: tuple[str, ...],
    kernel: str,
    series: str,
    arch: str | None,
    workloads: tuple[str, ...],
    config: str | None,
    seed: int,
    sim: bool,
    guests: bool,
    results: Path | None,
    again: tuple[str, ...],
    show: bool,
    as_json: bool,
) -> int:
    """Plant each fault, build it, and see which check of which workload finds it.

    FAULT is a name of the catalogue, a patch, or a directory of patches; without, it is the
    whole catalogue for the series.  A patch is applied on top of the series.  What was found
    is kept: an interrupted campaign goes on where it was.

    \b
    Example:
      pageless mutate --workload full free-uncounted spanning-write
      pageless mutate --series pageless-compound
      pageless mutate /tmp/faults
    """
    from toolkit import campaign
    from toolkit.kernel import faults
    from toolkit.workload import catalogue

    for wanted in workloads:
        catalogue.select(wanted)
    line = faults.line_of(_release(kernel))
    plan = campaign.Campaign(
        kernel=kernel,
        line=line,
        arch=arches.load(arch or _default_archs()[0]).name,
        workloads=workloads,
        seed=seed,
        config=config,
        simulate=sim,
        guests=guests,
        again=frozenset(map(campaign.Fate, again)),
    )
    chosen = campaign.selected(line, names, series)
    path = results or places.state_dir() / f"faults-{line}.json"
    if show:
        found = campaign.known(plan, chosen, path)
    else:
        runs = archive.Archive(places.state_dir() / "mutants")
        with _progress() as shown:
            found = campaign.run(plan, chosen, path, runs, shown)
    by_name = {fault.name: fault for fault in chosen}
    numbers = campaign.score(found.findings, by_name.__getitem__)
    if as_json:
        _print_json({"findings": found.findings, "score": numbers})
    else:
        table = Table("fault", "arch", "fate", "by", "check", "after", box=None)
        for one in found.findings:
            mark = by_name[one.fault].mark
            fate = f"{one.fate}, {mark}" if mark else one.fate
            table.add_row(one.fault, one.arch, fate, one.killer, one.check, f"{one.machine_s:.0f} s")
        stdout.print(table)
        stdout.print(
            f"killed {numbers.killed} of {numbers.of}"
            f" ({numbers.sometimes} marked sometimes and {numbers.survived} others survived);"
            f" {numbers.harmless} harmless, {numbers.false} false alarms",
            highlight=False,
        )
    return campaign.status_of(numbers).exit_status


@cli.command()
@kernel_option
@click.option(
    "--series",
    "-s",
    "series_names",
    multiple=True,
    default=["none", "pageless-owner"],
    show_default=True,
    help="Repeatable.",
)
@click.option("--arch", "-a", "archs", multiple=True, help="Repeatable.  [default: all, or ARCH]")
@click.option("--workload", "-w", "suite", default="quick", show_default=True, help="A workload or suite.")
@config_option
@click.option("--seeds", metavar="FIRST-LAST", default="1-50", show_default=True, help="One run for each.")
@click.option("--seconds", type=float, default=3600.0, show_default=True, help="No run begins after that.")
@jobs_option
@click.option("--results", type=click.Path(path_type=Path, dir_okay=False),
              help="Where it is kept, and looked up.  [default: below $XDG_STATE_HOME]")  # fmt: skip
@click.option("--show", is_flag=True, help="Only show what was run before.")
@json_option
def alarms(
    kernel: str,
    series_names: tuple[str, ...],
    archs: tuple[str, ...],
    suite: str,
    config: str,
    seeds: str,
    seconds: float,
    jobs: int | None,
    results: Path | None,
    show: bool,
    as_json: bool,
) -> int:
    """Run a suite on good kernels with many seeds: how often it complains, which it must not.

    What was run is kept: an interrupted campaign goes on where it was.

    \b
    Example:
      pageless alarms --seeds 1-50 --workload quick
    """
    from toolkit import alarms as campaign
    from toolkit import pipeline

    first, last = _numbers(seeds, "seeds")
    path = results or places.state_dir() / f"alarms-{_release(kernel)}.json"
    if show:
        turns = campaign.load(path)
    else:
        with _progress() as shown:
            turns = campaign.run(
                path,
                archive.Archive(places.state_dir() / "alarms"),
                kernel=kernel,
                series=tuple(dict.fromkeys(series_names)),
                archs=archs or _default_archs(),
                config=config,
                suite=suite,
                seeds=range(first, last + 1),
                seconds=seconds,
                jobs=jobs or pipeline.default_jobs(),
                progress=shown,
            )
    found = list(campaign.groups(turns))
    if as_json:
        _print_json(found)
    else:
        columns = ["kernel", "series", "arch", "config", "suite", "runs", "cells", "alarms"]
        table = Table(*columns, "checks a run", "machine", box=None)
        for one in found:
            least, minutes = f"{one.fewest} or more", f"{one.machine_s / 60:.0f} min"
            numbers = (str(one.turns), str(one.cells), str(len(one.alarms)), least, minutes)
            table.add_row(one.version, one.series, one.arch, one.config, one.suite, *numbers)
        stdout.print(table)
        for one in found:
            for alarm in one.alarms:
                stdout.print(f"{one.series} {one.arch} {alarm}", markup=False, soft_wrap=True)
    return worst(one.status for one in found).exit_status


@cli.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@kernel_option
@series_option
@click.option("--number", type=click.IntRange(min=1), default=60, show_default=True, help="How many.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of the lot.")
def draw(directory: Path, kernel: str, series: str, number: int, seed: int) -> None:
    """Draw faults by lot: small wrong edits of zsmalloc, zram and migration, a patch each.

    \b
    Example:
      pageless draw /tmp/faults --number 100 --seed 7
    """
    from toolkit import campaign

    with _progress() as shown:
        drawn = campaign.draw(kernel, series, number, seed, shown)
    directory.mkdir(parents=True, exist_ok=True)
    for mutant in drawn:
        (directory / f"{mutant.name}.patch").write_text(mutant.patch(seed, series), encoding="utf-8")
        stdout.print(mutant.name, highlight=False)


@cli.command()
@click.option(
    "--kernel",
    "-k",
    "kernels",
    multiple=True,
    default=["6.1", "6.12", "latest"],
    show_default=True,
    help="Repeatable.",
)
@series_option
@click.option(
    "--page-size",
    "page_sizes",
    type=int,
    multiple=True,
    default=[4096, 16384, 65536],
    show_default=True,
    help="In bytes; repeatable.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Sequences of each kernel and page size.",
)
@click.option(
    "--ops", type=click.IntRange(min=1), default=1000, show_default=True, help="Operations of a sequence."
)
@click.option("--seconds", type=float, default=3600.0, show_default=True, help="For all sequences together.")
@json_option
def sequences(
    kernels: tuple[str, ...],
    series: str,
    page_sizes: tuple[int, ...],
    count: int,
    ops: int,
    seconds: float,
    as_json: bool,
) -> int:
    """Run many random sequences, model against the tree's own mm/zsmalloc.c, and go on where it stopped.

    \b
    Example:
      pageless sequences --kernel 6.1 --page-size 4096 --count 500
    """
    from toolkit import sequences as campaign

    with _progress() as shown:
        tallies = campaign.tally(
            kernels,
            series,
            page_sizes,
            wanted=count,
            operations=ops,
            seconds=seconds,
            progress=shown,
        )
    if as_json:
        _print_json(tallies)
    else:
        table = Table("kernel", "pages", "sequences", "requests", "differing", "", box=None)
        for one in tallies:
            table.add_row(
                one.version,
                f"{one.page_size >> 10}K",
                f"{one.sequences} of {count}",
                str(sum(one.requests.values())),
                ", ".join(f"seed {seed}: {what}" for seed, what in one.differing.items()) or "none",
                one.status.value.upper(),
            )
        stdout.print(table)
    return worst(one.status for one in tallies).exit_status


@cli.group()
def model() -> None:
    """The reference model alone.

    \b
    Example:
      pageless model classes --release 6.1 --page-size 16384
    """


@model.command()
@click.option("--release", default="6.1", show_default=True, help="A kernel's version.")
@click.option("--page-size", type=int, default=4096, show_default=True, help="In bytes.")
@click.option("--chain-size", type=int, help="CONFIG_ZSMALLOC_CHAIN_SIZE, where the kernel has it.")
@json_option
def classes(release: str, page_size: int, chain_size: int | None, as_json: bool) -> None:
    """The size classes of a release.

    \b
    Example:
      pageless model classes --release 6.12 --chain-size 8
    """
    from toolkit.model.geometry import geometry

    try:
        made = geometry(release, page_size, chain_size)
    except ValueError as error:
        raise InputError(str(error)) from None
    if as_json:
        _print_json(made.classes)
        return
    table = Table("class", "size", "objects per zspage", "pages per zspage", box=None)
    for one in made.classes:
        table.add_row(str(one.index), str(one.size), str(one.objects), str(one.pages))
    stdout.print(table)


@model.command()
@click.argument("run_id", metavar="RUN")
@click.option("--cell", help="Part of a cell's name.  [default: all that have a trace]")
@json_option
def replay(run_id: str, cell: str | None, as_json: bool) -> None:
    """Follow a run's traces through the model and show what it predicts at each checkpoint.

    \b
    Example:
      pageless model replay last --cell fill
    """
    from toolkit import judge as judges
    from toolkit.model.replay import replay as follow

    kept_run = archive.Archive.default().find(run_id)
    cells = [c for c in kept_run.plan().cells if cell is None or cell in c.label]
    if not cells:
        raise InputError(
            f"no cell of run {kept_run.id} has {cell!r} in its name", hint="see: pageless report"
        )
    predicted: dict[str, Any] = {}
    for one in cells:
        case = judges.Case(kept_run.evidence(one))
        if (case.evidence.trace / "recording.json").exists():
            predicted[one.label] = follow(case.traced.operations, case.geometry).snapshots
    if not predicted:
        raise StoreError(f"run {kept_run.id} kept no trace of these cells")
    if as_json:
        _print_json(predicted)
        return
    for label, snapshots in predicted.items():
        table = Table(
            "checkpoint", "pool", "objects", "pages", "freeable", "pages compacted", box=None, title=label
        )
        for shot in snapshots:
            for pool in shot.pools:
                numbers = (pool.order, pool.objects, pool.pages, pool.freeable, pool.pages_compacted)
                table.add_row(shot.checkpoint, *map(str, numbers))
        stdout.print(table)


@model.command()
@click.argument("run_id", metavar="RUN")
@click.option("--cell", help="Part of a cell's name.  [default: all in which something was stored]")
@json_option
def descriptors(run_id: str, cell: str | None, as_json: bool) -> None:
    """What zsmalloc's metadata costs for each stored megabyte, with struct page and with less.

    From a run's own data: pages, zspages and handles at the checkpoint at which most was
    stored.  Run the variants beside the baseline to compare them.

    \b
    Example:
      pageless model descriptors last --cell fragment
    """
    from toolkit import judge as judges
    from toolkit.model.descriptors import costs

    kept_run = archive.Archive.default().find(run_id)
    found: dict[str, Any] = {}
    for record in kept_run.records():
        if cell is not None and cell not in record.cell.label:
            continue
        measured = judges.census(judges.Case(kept_run.evidence(record.cell)))
        if measured is not None:
            found[f"{record.cell.label}, {measured[0]}"] = (measured[1], costs(measured[1]))
    if not found:
        raise InputError(
            f"no cell of run {kept_run.id} stored anything at a checkpoint", hint="see: pageless report"
        )
    if as_json:
        _print_json({label: {"census": one, "costs": each} for label, (one, each) in found.items()})
        return
    for label, (one, each) in found.items():
        table = Table("memory map", "pages", "zspages", "handles", "bytes per MB", "%", box=None, title=label)
        for cost in each:
            table.add_row(
                cost.memmap.value,
                str(cost.pages),
                str(cost.zspages),
                str(cost.handles),
                f"{cost.per_stored_mb:.0f}",
                f"{cost.percent:.2f}",
            )
        stdout.print(table)
        stdout.print(
            f"{one.stored} bytes stored in {one.objects} objects, {one.zspages} zspages of"
            f" {one.zspage_slot:.0f} bytes, {one.pages} pages",
            highlight=False,
        )


def _show(kept_run: Any, outcome: Any, as_json: bool) -> None:
    from toolkit.report import terminal

    if as_json:
        _print_json(outcome)
        return
    terminal.show(stdout, kept_run, outcome)
