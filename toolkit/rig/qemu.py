# SPDX-License-Identifier: GPL-2.0-only
"""QEMU: its whole command line as a pure function, and the process with its monitor and console."""

from __future__ import annotations

import contextlib
import logging
import shlex
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit import run
from toolkit.deadline import Deadline
from toolkit.errors import PagelessError, QemuError
from toolkit.kernel.arch import Arch
from toolkit.rig import monitor
from toolkit.rig.accelerator import Accelerator
from toolkit.rig.image import HOST_ADDRESS, SSH_PORT
from toolkit.rig.machine import Machine

logger = logging.getLogger(__name__)

# Room for QEMU to start on a busy host before it counts as broken.
_START_S = 120.0
_QUIT_S = 5.0
# Longer than any guest runs.
_LIFE_S = 365 * 86400.0
# For half a GiB to be written to a busy disk.
_DUMP_S = 300.0

# Modules of memory that a guest can have besides what it booted with.
MEMORY_SLOTS = 4
# What no guest of ours needs: the seccomp filter kills QEMU at its first try.
_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


@dataclass(frozen=True)
class Memory:
    """A guest's memory in a file: `shared` writes to the file, else it is a private copy of it.

    Of further nodes it is in files beside that, PATH.1 and so on.
    """

    path: Path
    shared: bool


@dataclass(frozen=True)
class Tape:
    """A log of all that comes to a guest from outside: written while it runs, or followed again.

    The guest has one processor, whose instructions take 2^`shift` ns of its time each, and
    nothing to talk to: QEMU 7.2 repeats neither what virtio-net nor what an idle serial line
    was told.  Its console is a file: of a socket, QEMU would log what the reader took at a
    time.  With `gdb`, a debugger may connect to a socket of that name.
    """

    log: Path
    replayed: bool
    shift: str
    gdb: Path | None = None

    @property
    def options(self) -> list[str]:
        """QEMU's; a replay waits at its start."""
        mode = "replay" if self.replayed else "record"
        debugger = [] if self.gdb is None else ["-gdb", f"unix:{_escaped(self.gdb)},server=on,wait=off"]
        return [
            "-icount", f"shift={self.shift},rr={mode},rrfile={_escaped(self.log)}",
            *(["-S"] if self.replayed else []),
            *debugger,
        ]  # fmt: skip


@dataclass(frozen=True)
class Counter:
    """A plugin that counts what one processor executes from each of these addresses to its return.

    Like a Tape's, the guest has nothing to talk to, and its console is a file.
    """

    plugin: Path
    out: Path
    addresses: tuple[int, ...]

    @property
    def options(self) -> list[str]:
        """QEMU's: an instruction takes 16 ns of the guest's time, and idle time takes none of the host's."""
        at = "".join(f",at={address:#x}" for address in self.addresses)
        return [
            "-icount", "shift=4,sleep=off",
            "-plugin", f"file={_escaped(self.plugin)},out={_escaped(self.out)}{at}",
        ]  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """Everything that shapes a guest, and so its command line."""

    arch: Arch
    machine: Machine
    accelerator: Accelerator
    kernel: Path
    initramfs: Path
    # Appended to the kernel's command line last.
    append: str = ""
    # Whether its memory can be inspected: by a second monitor, and as a core if it crashes.
    inspectable: bool = False

    @property
    def command_line(self) -> str:
        """The kernel's command line.

        An oops is made a panic and a panic ends QEMU (`-no-reboot`): a guest that broke
        is never measured further.
        """
        words = [
            f"console={self.arch.console}",
            "rdinit=/init",
            "panic=-1",
            "oops=panic",
            "sysrq_always_enabled",
            # zsmalloc's caches stay apart from others of their size, so that leaks show.
            "slab_nomerge",
            "printk.devkmsg=on",
            "random.trust_cpu=on",
            "random.trust_bootloader=on",
            self.arch.append,
            self.machine.append,
            self._removable_memory,
            self.append,
        ]
        return " ".join(word for word in words if word)

    @property
    def _removable_memory(self) -> str:
        machine = self.machine
        if not machine.removable_mib:
            return ""
        if self.arch.boot_memory_stays:
            return f"mem={machine.memory_mib - machine.removable_mib}M"
        return f"movablecore={machine.removable_mib}M"


def argv(
    setup: Setup,
    *,
    console: str,
    control: str,
    ssh: str = "null",
    inspector: str = "null",
    memory: Memory | None = None,
    incoming: bool = False,
    tape: Tape | Counter | None = None,
) -> list[str]:
    """QEMU's command line.

    `console`, `control`, `ssh` and, if it is inspectable, `inspector` say where the serial line,
    the monitor, the guest's ssh and the second monitor go, as `-chardev` options without an id
    ("socket,fd=3").  With `incoming` the guest waits for its state.
    """
    arch, machine = setup.arch, setup.machine
    return [
        arch.qemu,
        "-no-user-config",
        "-nodefaults",
        "-display", "none",
        "-no-reboot",
        "-sandbox", _SANDBOX,
        "-machine", _machine(arch, machine),
        "-accel", setup.accelerator.option if tape is None else "tcg,thread=single",
        "-cpu", arch.tcg_cpu if setup.accelerator.emulated else "host",
        "-smp", f"cpus={machine.cpus}",
        "-m", _memory_size(machine),
        *_memory(machine, memory),
        *([] if incoming and arch.kernel_in_memory else _kernel(setup)),
        "-chardev", _chardev("console", console),
        "-serial", "chardev:console",
        "-chardev", _chardev("control", control),
        "-mon", "chardev=control,mode=control",
        *(_network(arch, ssh) if tape is None else tape.options),
        "-object", "rng-builtin,id=entropy",
        "-device", f"{arch.devices['rng']},rng=entropy",
        *(["-device", arch.devices["balloon"]] if machine.balloon else []),
        *(_inspectable(inspector) if setup.inspectable else []),
        *(["-incoming", "defer"] if incoming else []),
    ]  # fmt: skip


def _machine(arch: Arch, machine: Machine) -> str:
    """The board; of several nodes the first is low memory, as far as that can be said."""
    if machine.nodes == 1:
        return f"{arch.qemu_machine},memory-backend=ram"
    low = arch.low_memory.format(mib=machine.memory_mib // machine.nodes)
    return ",".join(filter(None, (arch.qemu_machine, low)))


def _memory_size(machine: Machine) -> str:
    size = f"{machine.memory_mib}M"
    if not machine.pluggable_mib:
        return size
    return f"{size},slots={MEMORY_SLOTS},maxmem={machine.memory_mib + machine.pluggable_mib}M"


def _memory(machine: Machine, memory: Memory | None) -> list[str]:
    """What memory is made of, by node."""
    options: list[str] = []
    for node in range(machine.nodes):
        name = "ram" if node == 0 else f"ram{node}"
        size = f"{machine.memory_mib // machine.nodes}M"
        if memory is None:
            ram = f"memory-backend-ram,id={name},size={size}"
        else:
            path = memory.path if node == 0 else memory.path.with_name(f"{memory.path.name}.{node}")
            share = "on" if memory.shared else "off"
            ram = f"memory-backend-file,id={name},size={size},mem-path={_escaped(path)},share={share}"
        options += ["-object", ram]
    if machine.nodes > 1:
        each = machine.cpus // machine.nodes
        for node in range(machine.nodes):
            name = "ram" if node == 0 else f"ram{node}"
            cpus = f"cpus={node * each}-{(node + 1) * each - 1}"
            options += ["-numa", f"node,nodeid={node},{cpus},memdev={name}"]
    return options


def _kernel(setup: Setup) -> list[str]:
    return ["-kernel", str(setup.kernel), "-initrd", str(setup.initramfs), "-append", setup.command_line]


def _inspectable(inspector: str) -> list[str]:
    """The device in which the kernel says where it lies, a monitor for whoever inspects, and
    a guest that is still there when it has crashed.
    """
    return [
        "-device", "vmcoreinfo",
        "-chardev", _chardev("inspector", inspector),
        "-mon", "chardev=inspector,mode=control",
        "-action", "shutdown=pause",
    ]  # fmt: skip


def _network(arch: Arch, ssh: str) -> list[str]:
    """A network of which the guest reaches one address, and nobody reaches the guest.

    What connects to that address talks to whoever holds `ssh`, and a template is frozen with that
    connection: QEMU keeps such ones in its state, unlike those from a port of the host.  A clone is not
    told that it moved: that interrupt, with another on its way, leaves virtio-mmio's line high for ever,
    and so without the edge that arm64's board takes for an interrupt (seen in QEMU 7.2).
    """
    return [
        "-chardev", _chardev("ssh", ssh),
        "-netdev", f"user,id=net,restrict=on,ipv6=off,guestfwd=tcp:{HOST_ADDRESS}:{SSH_PORT}-chardev:ssh",
        "-device", f"{arch.devices['net']},netdev=net,guest_announce=off",
    ]  # fmt: skip


def _escaped(path: Path) -> str:
    """A path as the value of one of QEMU's options."""
    return str(path).replace(",", ",,")


def _chardev(name: str, where: str) -> str:
    backend, _, options = where.partition(",")
    return f"{backend},id={name}" + (f",{options}" if options else "")


class Qemu:
    """A running QEMU: `console` is the socket of the guest's serial line, `ssh` that of its ssh server."""

    def __init__(
        self,
        process: run.Process,
        control: monitor.Monitor,
        console: socket.socket,
        ssh: socket.socket,
        directory: Path,
    ) -> None:
        self.process = process
        self.monitor = control
        self.console = console
        self.ssh = ssh
        self.directory = directory
        # Where a second QMP session can be had, of an inspectable guest.
        self.inspector: Path | None = None
        # Clear while a core is written.
        self.settled = threading.Event()
        self.settled.set()

    @property
    def gone(self) -> bool:
        """Whether QEMU ended."""
        return self.process.poll() is not None

    @property
    def guest_reset(self) -> bool:
        """Whether QEMU ended because the guest reset or powered itself off."""
        return any(event["data"]["guest"] for event in self.monitor.events("SHUTDOWN"))

    def wait_gone(self, deadline: Deadline) -> bool:
        """Whether QEMU ended before the deadline."""
        return run.wait(self.process, deadline) is not None

    @property
    def core(self) -> Path:
        """The guest's memory as ELF, if it was kept: when the guest crashed, or by `dump`."""
        return self.directory / "core"

    def dump(self) -> None:
        """Keep the guest's memory as it is now in `core`; QemuError if QEMU cannot."""
        self.monitor.execute(
            "dump-guest-memory",
            deadline=Deadline.after(_DUMP_S),
            paging=False,
            protocol=f"file:{self.core}",
        )
        # Most of a guest's memory was never touched.
        run.run(["fallocate", "--dig-holes", str(self.core)], deadline=Deadline.after(_DUMP_S))

    def sysrq(self, key: str) -> None:
        """Press a SysRq key on the serial line: a break, then the key."""
        self.monitor.execute("chardev-send-break", id="console")
        with contextlib.suppress(OSError):
            self.console.sendall(key.encode())

    def type(self, line: str) -> None:
        """Enter a line on the serial line; what it comes to is seen on the console."""
        with contextlib.suppress(OSError):
            self.console.sendall(f"{line}\n".encode())

    def hang_up(self) -> None:
        """End the connection with the guest's ssh: whoever waits for something from it is told."""
        with contextlib.suppress(OSError):
            self.ssh.shutdown(socket.SHUT_RDWR)

    def stderr(self) -> str:
        """What QEMU complained about so far."""
        return stderr_of(self.directory)

    def died(self) -> QemuError:
        """The error that says that QEMU ended, with what it complained about."""
        return QemuError(
            f"QEMU ended with status {self.process.poll()}",
            hint=f"its command line: {self.directory / 'qemu.command'}",
            detail=self.stderr(),
        )

    def quit(self) -> None:
        """Ask QEMU to end, and wait a little: whoever started it kills what does not follow."""
        self.settled.wait(_DUMP_S)
        with contextlib.suppress(QemuError):
            self.monitor.execute("quit", deadline=Deadline.after(_QUIT_S))
        self.wait_gone(Deadline.after(_QUIT_S))


@contextlib.contextmanager
def running(
    setup: Setup,
    directory: Path,
    *,
    memory: Memory | None = None,
    incoming: bool = False,
    said: bytes = b"",
    tape: Tape | Counter | None = None,
) -> Iterator[Qemu]:
    """A QEMU that runs as long as the context; its stderr and command are kept in `directory`.

    The thread that enters must outlive the context: QEMU is killed with it.  Console, monitor and
    ssh are inherited sockets, so nothing but us can talk to any; with a `tape`, the console is
    the file console.log in `directory`.  With `incoming`, `said` is what the guest's ssh server
    had said when the guest was frozen.
    """
    with contextlib.ExitStack() as stack:
        console, console_end = _pair(stack)
        control, control_end = _pair(stack)
        ssh, ssh_end = _pair(stack)
        ssh_end.sendall(said)
        inspector = stack.enter_context(_listening()) if setup.inspectable else None
        where = f"socket,fd={console_end.fileno()}"
        if tape is not None:
            where = f"file,path={_escaped(directory / 'console.log')}"
        words = argv(
            setup,
            console=where,
            control=f"socket,fd={control_end.fileno()}",
            ssh=f"socket,fd={ssh_end.fileno()}",
            inspector="null" if inspector is None else f"socket,fd={inspector.fileno()},server=on,wait=off",
            memory=memory,
            incoming=incoming,
            tape=tape,
        )
        (directory / "qemu.command").write_text(reproducer(setup), encoding="utf-8")
        with (directory / "qemu.stderr").open("wb") as stderr:
            process = stack.enter_context(
                run.start(
                    words,
                    stderr=stderr,
                    pass_fds=tuple(
                        end.fileno()
                        for end in (console_end, control_end, ssh_end, inspector)
                        if end is not None
                    ),
                )
            )
        # QEMU has them now: ours must go, or we would never see it hang up.
        console_end.close()
        control_end.close()
        ssh_end.close()
        watcher = stack.enter_context(_joined())
        try:
            session = stack.enter_context(monitor.session(control, deadline=Deadline.after(_START_S)))
        except QemuError as error:
            died = run.wait(process, Deadline.after(1.0)) is not None
            raise QemuError(
                "QEMU did not start" if died else error.message,
                hint=f"its command line: {directory / 'qemu.command'}",
                detail=stderr_of(directory),
            ) from error
        qemu = Qemu(process, session, console, ssh, directory)
        if inspector is not None:
            qemu.inspector = Path(inspector.getsockname())
            # A template's memory is not its own guest's.
            watcher.append(_watch_for_its_end(qemu, keep=memory is None or not memory.shared))
        stack.callback(qemu.quit)
        yield qemu


@contextlib.contextmanager
def _listening() -> Iterator[socket.socket]:
    """A socket with a name that only this user finds; QEMU is to listen on it."""
    with (
        tempfile.TemporaryDirectory(prefix="pageless-qmp-") as directory,
        socket.socket(socket.AF_UNIX) as bound,
    ):
        bound.bind(f"{directory}/inspector")
        yield bound


@contextlib.contextmanager
def _joined() -> Iterator[list[threading.Thread]]:
    """Threads that are waited for at the end."""
    threads: list[threading.Thread] = []
    try:
        yield threads
    finally:
        for thread in threads:
            thread.join()


def _watch_for_its_end(qemu: Qemu, *, keep: bool) -> threading.Thread:
    """End a QEMU whose guest ended, which waits for that; `keep` a core if the guest crashed."""

    def watch() -> None:
        ended = qemu.monitor.wait_event("SHUTDOWN", lambda data: data["guest"], Deadline.after(_LIFE_S))
        if ended is None:
            return
        qemu.settled.clear()
        try:
            if keep and ended.get("reason") in ("guest-reset", "guest-panic"):
                qemu.dump()
        except PagelessError as error:
            logger.warning("no core of the guest was kept: %s", error.message)
        finally:
            qemu.settled.set()
            qemu.quit()

    thread = threading.Thread(target=watch, name="core", daemon=True)
    thread.start()
    return thread


def reproducer(setup: Setup) -> str:
    """A command to paste: the same guest with its console on the terminal and QMP nowhere."""
    words = argv(setup, console="stdio,mux=on,signal=off", control="null")
    return shlex.join(words) + "\n"


def stderr_of(directory: Path) -> str:
    return (directory / "qemu.stderr").read_text(encoding="utf-8", errors="replace")


def _pair(stack: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    return stack.enter_context(ours), stack.enter_context(theirs)
