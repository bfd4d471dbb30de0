# SPDX-License-Identifier: GPL-2.0-only
"""Kernel tests as a kernel developer writes them: `pageless test rigs/tests --arch x86_64`."""

import pytest

from toolkit.pytest_plugin import Kernel, Zram, Zsmalloc
from toolkit.rig.qemu_guest import QemuGuest
from toolkit.workload import Bench, memory
from toolkit.workload.programs import page_bytes, run


def test_the_guest_runs_the_kernel_under_test(guest: QemuGuest, kernel: Kernel) -> None:
    assert kernel.release in guest.read("/proc/version").decode()


@pytest.mark.guest(single_threaded=True, floors={"zs_malloc": 256})
def test_a_page_of_its_own_for_each_object_that_does_not_compress(
    bench: Bench, guest: QemuGuest, zram: Zram, zsmalloc: Zsmalloc
) -> None:
    memory.keep_quiet(guest)
    device = zram.disk(256 * page_bytes(guest))
    state = f"--device={device.device} --state=/tmp/state"
    run(bench, "created", f"zblk create --slots=256 --seed={bench.seed} {state}")
    run(bench, "filled", f"zblk write --mix=random {state}")
    bench.checkpoint("filled")
    assert zsmalloc.pages == zsmalloc.classes(device.name).pages_used == device.mm_stat().huge_pages == 256
    run(bench, "halved", f"zblk discard --step=2 {state}")
    assert zsmalloc.pages == 128


@pytest.mark.guest(needs=["COMPACTION"], floors={"bytes_verified": 4 << 20})
def test_content_outlives_compaction_of_all_memory(bench: Bench, guest: QemuGuest, zram: Zram) -> None:
    device = zram.disk(4 << 20)
    slots = (4 << 20) // page_bytes(guest)
    state = f"--device={device.device} --state=/tmp/state"
    run(bench, "created", f"zblk create --slots={slots} --seed={bench.seed} {state}")
    run(bench, "filled", f"zblk write --mix=mixed {state}")
    guest.write(memory.COMPACT, "1")
    run(bench, "verified", f"zblk verify {state}")
