# SPDX-License-Identifier: GPL-2.0-only
"""Whether guests of an architecture run on the processor (KVM) or are emulated (TCG), by trying it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import select
import tempfile
from dataclasses import dataclass
from pathlib import Path

from toolkit import places, run
from toolkit.deadline import Deadline
from toolkit.kernel.arch import Arch

logger = logging.getLogger(__name__)

_DEVICE = Path("/dev/kvm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# The probe's guest is done within a second where guests run at speed, emulated ones too; a busy host takes
# longer, and a KVM that cannot run a kernel for ever.
_PROBE_S = 15.0
# The one byte that the probe's code writes to the serial line.
_ALIVE = b"K"


@dataclass(frozen=True)
class Accelerator:
    """What runs a guest's instructions, and why that."""

    # "kvm" or "tcg".
    name: str
    why: str

    @property
    def emulated(self) -> bool:
        return self.name == "tcg"

    @property
    def option(self) -> str:
        """The value of QEMU's -accel."""
        return "tcg,thread=multi" if self.emulated else self.name


def accelerator(arch: Arch) -> Accelerator:
    """KVM if a guest of `arch` really runs with it here, else TCG; what was found is kept until a reboot.

    Says once in the log if guests are slower than this host promises.
    """
    found = _found(arch)
    if found.emulated and arch.native and arch.name not in _announced:
        _announced.add(arch.name)
        logger.warning("guests of %s are emulated: %s", arch.name, found.why)
    return found


_announced: set[str] = set()


def _found(arch: Arch) -> Accelerator:
    if not arch.native:
        return Accelerator("tcg", f"guests of {arch.name} are foreign to this host")
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        exists = "may not be opened by this user" if _DEVICE.exists() else "is not there"
        return Accelerator("tcg", f"{_DEVICE} {exists}")
    probed = hashlib.sha256(arch.probe_code.encode()).hexdigest()[:8]
    boot_id = _BOOT_ID.read_text(encoding="utf-8").strip()
    cache = places.cache_dir() / "accelerator" / f"{arch.name}-{probed}-{boot_id}"
    try:
        return Accelerator(**json.loads(cache.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        found = _tried(arch)
    cache.parent.mkdir(parents=True, exist_ok=True)
    fresh = cache.with_name(f".{cache.name}.{os.getpid()}")
    fresh.write_text(json.dumps({"name": found.name, "why": found.why}), encoding="utf-8")
    fresh.rename(cache)
    return found


def _tried(arch: Arch) -> Accelerator:
    failure = probe(arch, Accelerator("kvm", ""), deadline=Deadline.after(_PROBE_S))
    if failure is None:
        return Accelerator("kvm", "a guest ran with it")
    return Accelerator("tcg", f"{_DEVICE} opens, but a guest does not run with it: {failure}")


def probe(arch: Arch, candidate: Accelerator, *, deadline: Deadline) -> str | None:
    """None if a small guest ran with `candidate`, else what went wrong.

    The guest's firmware is `arch.probe_code`, which does what a kernel needs and then
    writes one byte to the serial line.  A KVM may run the first instructions of any
    guest and yet no kernel: one below another hypervisor was seen to stand still, its
    time spent in the host, as soon as the guest left real mode.
    """
    with tempfile.TemporaryDirectory(prefix="pageless-") as name:
        firmware = Path(name, "firmware")
        firmware.write_bytes(bytes(arch.probe_offset) + bytes.fromhex(arch.probe_code))
        with firmware.open("ab") as padded:
            padded.truncate(max(padded.tell(), 1 << 16))
        argv: list[run.Argument] = [
            arch.qemu,
            "-no-user-config",
            "-nodefaults",
            "-display", "none",
            "-machine", arch.qemu_machine,
            "-accel", candidate.option,
            "-cpu", arch.tcg_cpu if candidate.emulated else "host",
            "-m", "16M",
            "-bios", firmware,
            "-serial", "stdio",
        ]  # fmt: skip
        with (
            Path(name, "stderr").open("w+b") as stderr,
            run.start(argv, stdout=run.PIPE, stderr=stderr) as process,
        ):
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], deadline.remaining_s)
            if not ready:
                return "it hung, or was too slow"
            if process.stdout.read(1) == _ALIVE:
                return None
            status = process.wait()
            stderr.seek(0)
            complaint = stderr.read().decode("utf-8", "replace").strip().partition("\n")[0]
            return complaint or f"QEMU ended with status {status}"
