# SPDX-License-Identifier: GPL-2.0-only
"""The pages of the balloon can be moved as well: it grows and shrinks, while zspages move beside it."""

from toolkit.errors import HostError
from toolkit.rig.qemu_guest import QemuGuest
from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import run

DISK_BYTES = 4 << 20
LARGE_MIB, SMALL_MIB = 128, 64
TURNS = 3
SECONDS = 3

# Until the driver has taken so many pages that it has not given back.
_WAIT = """until [ $(awk '
/^balloon_inflate / {{ pages += $2 }}
/^balloon_deflate / {{ pages -= $2 }}
END {{ print pages }}' /proc/vmstat) = {pages} ]; do sleep 0.1; done"""


@workload(
    suites=["full"],
    deadline_s=300,
    single_threaded=False,
    needs=["ZRAM", "VIRTIO_BALLOON", "BALLOON_COMPACTION"],
    machine="balloon",
    floors={
        "bytes_verified": (TURNS + 1) * DISK_BYTES,
        "balloon_inflate": TURNS * (LARGE_MIB - SMALL_MIB) << 8,
        "balloon_deflate": TURNS * (LARGE_MIB - SMALL_MIB) << 8,
        "balloon_migrate": 100,
        "balloon_page_migrate_success": 100,
    },
)
def exercise(bench: Bench) -> None:
    """Inflate and deflate the balloon over and over in memory that is fragmented and compacted."""
    guest = bench.guest
    if not isinstance(guest, QemuGuest):
        raise HostError("only a guest in QEMU has a balloon")
    fragment_mib = memory.available_mib(guest) // 8

    def resize(balloon_mib: int, label: str) -> None:
        """Have the balloon resized while memory is fragmented, and wait until it has that size."""
        guest.qmp.execute("balloon", value=(guest.machine.memory_mib - balloon_mib) << 20)
        run(
            bench,
            label,
            f"fragment --mib={fragment_mib} --seconds={SECONDS} --hold-ms=200 --compact={memory.COMPACT}",
        )
        guest.execute(_WAIT.format(pages=balloon_mib << 8), deadline=bench.deadline)

    before = memory.counters(guest, "balloon_inflate", "balloon_deflate", "balloon_migrate")
    with zram.known_disk(bench, DISK_BYTES) as disk:
        for turn in range(TURNS):
            resize(LARGE_MIB, f"inflated-{turn}")
            disk.run(f"written-{turn}", f"write --mix=mixed --step={turn + 1}")
            resize(SMALL_MIB, f"deflated-{turn}")
            disk.run(f"verified-{turn}", "verify")
            bench.checkpoint(f"turn-{turn}")
        resize(0, "gone")
        disk.run("verified", "verify")
    for name, value in memory.counters(guest, *before).items():
        bench.count(name, value - before[name])
