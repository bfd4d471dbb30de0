# SPDX-License-Identifier: GPL-2.0-only
"""Inspections of a stopped guest, through a QMP socket of its QEMU, and of a saved core."""

from __future__ import annotations

import gc
import importlib.util
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.deadline import Deadline
from toolkit.errors import HostError, InputError, MissingToolError
from toolkit.inspection.inspection import Inspection, inspect
from toolkit.rig import monitor

if TYPE_CHECKING:
    from drgn import Program

# A moment in which a guest in the middle of an operation comes on, and how often it gets one.
_MOMENT_S = 0.02
_LOOKS = 8
# Another's QEMU greets within this, or its monitor is taken.
_ANSWER_S = 30.0

# Without these a kernel can be seen from outside and not be understood.
NEEDS = ("DEBUG_INFO", "PROC_KCORE", "FW_CFG_SYSFS", "SPARSEMEM_VMEMMAP")


def inspectable(configuration: Mapping[str, str]) -> bool:
    """Whether a kernel, by its final configuration, can be inspected."""
    return all(symbol in configuration for symbol in NEEDS)


@dataclass(frozen=True)
class Stopper:
    """How a guest is stopped, and let on."""

    stop: Callable[[], None]
    go_on: Callable[[], None]


def require() -> None:
    """MissingToolError if drgn is not installed."""
    if importlib.util.find_spec("drgn") is None:
        raise MissingToolError(
            "drgn is not installed, which reads a guest's memory", hint="pip install 'pageless[inspect]'"
        )


class Eye:
    """Looks at one guest as often as wanted; opened at the first look.

    `address` is a QMP socket that nobody else uses, of a QEMU with a vmcoreinfo device;
    `vmlinux` are kernels with debug information, of which the fitting one is taken.
    """

    def __init__(self, address: Path, vmlinux: Iterable[Path], stopper: Stopper) -> None:
        require()
        self._address = address
        self._vmlinux = tuple(vmlinux)
        self._stopper = stopper
        self._program: Program | None = None

    def look(self) -> Inspection:
        """Stop the guest, look, and let it on: again while anything is found that may pass.

        A guest may be stopped in the middle of an operation.  What is found in every
        look is wrong; what goes by was only unfinished.
        """
        return settled(self._one_look)

    def _one_look(self) -> Inspection:
        self._stopper.stop()
        try:
            if self._program is None:
                self._program = _opened(
                    lambda program: program.set_qemu_qmp(str(self._address)), self._vmlinux
                )
            return _inspected(self._program, "guest")
        finally:
            self._stopper.go_on()


def settled(look: Callable[[], Inspection]) -> Inspection:
    """The first look without findings and held locks, else the last with what was found in all."""
    last = look()
    stayed = {(finding.rule, finding.where) for finding in last.findings}
    for looks in range(2, _LOOKS + 1):
        if not last.findings and not last.busy:
            return last
        # Nothing tells from outside that an operation is over: time has to pass.
        time.sleep(_MOMENT_S)
        last = replace(look(), looks=looks)
        stayed &= {(finding.rule, finding.where) for finding in last.findings}
    return replace(last, findings=tuple(f for f in last.findings if (f.rule, f.where) in stayed))


def guest(address: Path, vmlinux: Iterable[Path]) -> Inspection:
    """What is found in a guest, which is stopped meanwhile; nobody else may use the QMP socket."""
    kernels = tuple(vmlinux)
    require()

    def look() -> Inspection:
        _ask(address, "stop")
        try:
            return _inspected(_opened(lambda program: program.set_qemu_qmp(str(address)), kernels), "guest")
        finally:
            # One monitor serves one client at a time, and drgn keeps it as long as its program lives.
            gc.collect()
            _ask(address, "cont")

    return settled(look)


def _ask(address: Path, command: str) -> None:
    with socket.socket(socket.AF_UNIX) as stream:
        try:
            stream.connect(str(address))
        except OSError as error:
            raise HostError(f"{address}: {error.strerror}", hint="is its QEMU still running?") from None
        with monitor.session(stream, deadline=Deadline.after(_ANSWER_S)) as session:
            session.execute(command)


def core(path: Path, vmlinux: Iterable[Path]) -> Inspection:
    """What is found in an ELF core of a guest, as QEMU's dump-guest-memory writes it."""
    return _inspected(opened(path, vmlinux), path.name)


def opened(path: Path, vmlinux: Iterable[Path]) -> Program:
    """A core as drgn has it, with the debug information of the kernel that fits."""
    require()
    return _opened(lambda program: program.set_core_dump(path), tuple(vmlinux))


def _inspected(program: Program, source: str) -> Inspection:
    # drgn is an extra, and costs a moment to load.
    from toolkit.inspection.walk import walk

    return inspect(walk(program), source)


def _opened(attach: Callable[[Program], None], vmlinux: tuple[Path, ...]) -> Program:
    import drgn

    program = drgn.Program()
    try:
        attach(program)
    except (OSError, ValueError) as error:
        raise HostError(
            f"the guest's memory cannot be opened: {error}",
            hint="QEMU needs -device vmcoreinfo, and its kernel --config inspect; a core must be ELF",
        ) from None
    if not program.flags & drgn.ProgramFlags.IS_LINUX_KERNEL:
        raise HostError(
            "the guest's kernel did not say where it lies in memory (vmcoreinfo)",
            hint="build it with --config inspect, and start QEMU with -device vmcoreinfo",
        )
    try:
        program.load_debug_info(vmlinux, main=True)
    except drgn.MissingDebugInfoError:
        raise InputError(
            f"none of {len(vmlinux)} kernels with debug information is the guest's",
            hint="name it: --vmlinux PATH",
        ) from None
    return program
