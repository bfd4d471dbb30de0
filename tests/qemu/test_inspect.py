# SPDX-License-Identifier: GPL-2.0-only
"""Guests looked into from outside: sound ones, planted corruption, and those that crashed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.qemu.conftest import BOOT_S, CLONE_S, IMAGE_S, KERNEL
from toolkit import store
from toolkit.collect import snapshot, zsmalloc
from toolkit.deadline import Deadline
from toolkit.errors import CrashError, HangError
from toolkit.inspection import live
from toolkit.inspection.inspection import Inspection, inspect
from toolkit.kernel import build, kconfig, source
from toolkit.kernel.arch import Arch
from toolkit.kernel.build import BuiltKernel
from toolkit.rig import image, machine, template
from toolkit.rig.accelerator import accelerator
from toolkit.rig.qemu import Setup
from toolkit.rig.qemu_guest import QemuGuest
from toolkit.verdict import Status

if TYPE_CHECKING:
    from drgn import Object, Program

pytestmark = [pytest.mark.qemu, pytest.mark.kernel]

logger = logging.getLogger(__name__)

SLOTS = 2048
FILL = (
    f"n=$(cat /sys/class/zram-control/hot_add); echo {SLOTS * 4}K >/sys/block/zram$n/disksize;"
    f" z='--device=/dev/zram'$n' --state=/tmp/state'; zblk create --slots={SLOTS} --seed=1 $z &&"
    " zblk write --mix=mixed $z && zblk discard --from=1 --step=3 $z"
)


@pytest.fixture(scope="session")
def inspectable(arch: Arch) -> BuiltKernel:
    """A kernel with debug information, if it was built: that takes three times as long as without."""
    pytest.importorskip("drgn")
    tree = source.fetch(source.load(KERNEL), progress=logger.info)
    wanted = kconfig.compose("inspect", arch, tree.release)
    key = build.inputs(tree, arch, build.configure(tree, arch, wanted, progress=logger.info)).key
    found = build.find(key)
    if found is None:
        pytest.skip(f"not built: pageless build --kernel {KERNEL} --arch {arch.name} --config inspect")
    return found


@pytest.fixture
def seen(arch: Arch, inspectable: BuiltKernel, tmp_path: Path) -> Iterator[QemuGuest]:
    """A guest with a populated zram disk."""
    setup = Setup(
        arch=arch,
        machine=machine.load("default"),
        accelerator=accelerator(arch),
        kernel=inspectable.image,
        initramfs=image.initramfs(arch, store.default_store(), deadline=Deadline.after(IMAGE_S)),
        inspectable=True,
    )
    frozen = template.template(setup, deadline=Deadline.after(BOOT_S))
    with template.clone(frozen, tmp_path, deadline=Deadline.after(CLONE_S)) as guest:
        guest.execute(FILL, deadline=Deadline.after(CLONE_S))
        yield guest


@pytest.fixture(scope="module")
def cores() -> dict[str, Path]:
    """One core for each architecture, once it was made."""
    return {}


def eye(guest: QemuGuest, kernel: BuiltKernel) -> live.Eye:
    assert guest.inspector is not None
    stopper = live.Stopper(lambda: guest.qmp.execute("stop"), lambda: guest.qmp.execute("cont"))
    return live.Eye(guest.inspector, (kernel.vmlinux,), stopper)


def rows(look: Inspection) -> dict[int, tuple[int, ...]]:
    """Class index to objects allocated and used, and pages."""
    return {row.index: (row.obj_allocated, row.obj_used, row.pages_used) for row in look.pools[0].rows}


def test_a_running_guest_holds_what_debugfs_says(seen: QemuGuest, inspectable: BuiltKernel) -> None:
    looking = eye(seen, inspectable)
    first = looking.look()
    assert (first.status, first.findings, first.notes) == (Status.PASS, (), ())
    taken = snapshot.take(seen, Deadline.after(CLONE_S))
    (table,) = zsmalloc.COLLECTOR.read_all(taken).values()
    assert rows(first) == {row.index: (row.obj_allocated, row.obj_used, row.pages_used) for row in table.rows}
    assert sum(row[1] for row in rows(first).values()) > SLOTS // 2
    seen.execute("zblk discard --step=2 --device=/dev/zram$n --state=/tmp/state".replace(
        "$n", first.pools[0].name.removeprefix("zram")), deadline=Deadline.after(CLONE_S))  # fmt: skip
    assert looking.look().pools[0].objects < first.pools[0].objects


def test_a_guest_that_crashes_leaves_a_core_with_all_it_had(
    seen: QemuGuest, inspectable: BuiltKernel
) -> None:
    before = eye(seen, inspectable).look()
    with pytest.raises(CrashError):
        seen.execute("echo c >/proc/sysrq-trigger", deadline=Deadline.after(CLONE_S))
    core = seen.directory / "core"
    assert seen._qemu.wait_gone(Deadline.after(BOOT_S))
    after = live.core(core, (inspectable.vmlinux,))
    assert (rows(after), after.findings) == (rows(before), ())


def test_a_guest_of_somebody_else_is_inspected_through_its_socket(
    seen: QemuGuest, inspectable: BuiltKernel
) -> None:
    assert seen.inspector is not None
    look = live.guest(seen.inspector, (inspectable.vmlinux,))
    assert (look.status, look.findings) == (Status.PASS, ())
    assert seen.qmp.execute("query-status")["status"] == "running"
    assert rows(eye(seen, inspectable).look()) == rows(look)


def test_a_guest_that_hangs_can_be_dumped_and_inspected(seen: QemuGuest, inspectable: BuiltKernel) -> None:
    before = eye(seen, inspectable).look()
    with pytest.raises(HangError):
        seen.execute("sleep 10000", deadline=Deadline.after(1.0))
    seen.dump()
    after = live.core(seen.directory / "core", (inspectable.vmlinux,))
    assert (rows(after), after.findings) == (rows(before), ())


# Each plants one corruption: what of the walked program is overlaid with which words.
Plant = Callable[["Program", "Object", "Object"], dict[int, int]]


def member(one: Object, name: str) -> int:
    return int(getattr(one, name).address_of_().value_())


def unlinked(_program: Program, _pool: Object, zspage: Object) -> dict[int, int]:
    return {
        zspage.list.prev.next.address_of_().value_(): zspage.list.next.value_(),
        zspage.list.next.prev.address_of_().value_(): zspage.list.prev.value_(),
    }


def handle_astray(program: Program, _pool: Object, zspage: Object) -> dict[int, int]:
    first = program.read_u64(content(program, zspage)) & ~1
    return {first: program.read_u64(first) ^ 2}


def content(program: Program, zspage: Object) -> int:
    """Where the first object of a zspage begins, which is allocated."""
    from drgn.helpers.linux.mm import page_to_virt

    return int(page_to_virt(zspage.first_page).value_())


PLANTED: dict[str, tuple[str, Plant]] = {
    "a zspage that no list has": ("lost", unlinked),
    "a list that leads back": (
        "list", lambda _program, _pool, z: {member(z.list, "next"): z.list.address_of_().value_()},
    ),
    "a handle that leads astray": ("handle", handle_astray),
    "an object that is not marked": (
        "object", lambda p, _pool, z: {content(p, z): p.read_u64(content(p, z)) & ~1},
    ),
    "a handle that is none": ("handle", lambda p, _pool, z: {content(p, z): 0x1235}),
    "a page of nobody": ("page", lambda _p, _pool, z: {member(z.first_page, "private"): 0}),
    "a page without its mark": ("page", lambda _p, _pool, z: {member(z.first_page, "mapping"): 0}),
    "a flag of somebody else": (
        "declared", lambda p, _pool, z: {
            member(z.first_page, "flags"): z.first_page.flags.value_() | 1 << int(p.constant("PG_checked"))
        },
    ),
    "a pool that counts wrong": (
        "count", lambda _p, pool, _z: {
            member(pool, "pages_allocated"): pool.pages_allocated.counter.value_() + 1
        },
    ),
    "a class that counts wrong": (
        "count", lambda _p, pool, z: {
            pool.size_class[z.member_("class")].stats.objs[5].address_of_().value_(): 0
        },
    ),
    "a zspage of another pool": ("page", lambda _p, _pool, z: {member(z, "pool"): 0}),
    "a free list that goes nowhere": (
        "freelist", lambda _p, _pool, z: {member(z, "freeobj") & ~7: _with_freeobj(z, 0xFFFFFFFF)},
    ),
}  # fmt: skip


def _with_freeobj(zspage: Object, value: int) -> int:
    """The word that holds a zspage's freeobj, with that value."""
    address = member(zspage, "freeobj")
    word: int = zspage.prog_.read_u64(address & ~7)
    shift = 8 * (address & 7)
    return word & ~(0xFFFFFFFF << shift) | value << shift


@pytest.mark.parametrize("planted", PLANTED)
def test_planted_corruption_is_found(
    planted: str, arch: Arch, inspectable: BuiltKernel, cores: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    if arch.name not in cores:
        guest: QemuGuest = request.getfixturevalue("seen")
        guest.dump()
        cores[arch.name] = tmp_path_factory.mktemp("cores") / "core"
        (guest.directory / "core").rename(cores[arch.name])
    from toolkit.inspection import walk

    program = live.opened(cores[arch.name], (inspectable.vmlinux,))
    sound = inspect(walk.walk(program), "core")
    assert sound.findings == ()
    pool, zspage = partly_used(program)
    rule, plant = PLANTED[planted]
    for address, word in plant(program, pool, zspage).items():
        overlay(program, address, word)
    found = inspect(walk.walk(program), "core").findings
    assert rule in {finding.rule for finding in found}


def partly_used(program: Program) -> tuple[Object, Object]:
    """The pool, and a zspage whose first object is allocated and another is free."""
    from toolkit.inspection import walk

    walker = walk._Walker(program)
    heap = walker.heap()
    (pool,) = walker._find_pools()
    for one in heap.pools[0].classes:
        for zspage in one.zspages:
            if not zspage.huge and zspage.headers[0] & 1 and zspage.inuse < one.objects:
                return pool, _at(program, zspage.address)
    raise AssertionError("the disk left no zspage partly used")


def _at(program: Program, address: int) -> Any:
    from drgn import Object

    return Object(program, "struct zspage *", value=address)


def overlay(program: Program, address: int, word: int) -> None:
    """Let a word of memory read differently, wherever it is read from."""
    from drgn.helpers.linux.mm import follow_phys

    data = word.to_bytes(8, "little")
    physical = follow_phys(program["init_mm"].address_of_(), address).value_()

    def read(_address: int, count: int, offset: int, _physical: bool) -> bytes:
        return data[offset : offset + count]

    program.add_memory_segment(physical, 8, read, True)
    program.add_memory_segment(address, 8, read, False)
