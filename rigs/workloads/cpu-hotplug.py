# SPDX-License-Identifier: GPL-2.0-only
"""A processor goes and comes back, and with it the areas that objects are mapped and compressed in."""

from toolkit.collect import slabinfo
from toolkit.rig.guest import Guest
from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import CHURN, page_bytes, run, run_together

DISK_BYTES = 6 << 20
SECONDS = 5
CPU = "/sys/devices/system/cpu/cpu1"
AT_REST = 40

_CYCLE = """
done=0 until=$(( $(cut -d. -f1 /proc/uptime) + {seconds} ))
while [ $done -lt {least} ] || [ $(cut -d. -f1 /proc/uptime) -lt $until ]; do
    echo 0 >{cpu}/online || exit 1
    sleep 0.02
    echo 1 >{cpu}/online || exit 1
    done=$((done + 1))
    sleep 0.02
done
echo '{{"cycles": '$done'}}'
"""


@workload(
    suites=["quick", "full"],
    deadline_s=240,
    single_threaded=False,
    needs=["ZRAM", "HOTPLUG_CPU"],
    floors={"cycles": AT_REST + 5, "writes": 400, "reads": 100, "bytes_verified": 2 * DISK_BYTES},
)
def exercise(bench: Bench) -> None:
    """Take a processor offline and online again while a zram disk is churned."""
    guest = bench.guest
    pages_before = zram.nr_zspages(guest)
    page = page_bytes(guest)
    slots = zram.slots_for(guest, DISK_BYTES)
    with zram.disk(guest, slots * page) as device:
        state = f"--device={device.device} --state=/tmp/hotplug.state"
        run(bench, "created", f"zblk create --slots={slots} --seed={bench.seed} {state}")
        # A pool of which one processor knows nothing yet: it was away when the pool was made.
        guest.write(f"{CPU}/online", "0")
        with zram.disk(guest, slots * page) as second:
            other = f"--device={second.device} --state=/tmp/second.state"
            run(bench, "second-created", f"zblk create --slots={slots} --seed={bench.seed + 1} {other}")
            run(bench, "second-filled", f"zblk write --mix=spread {other}")
            guest.write(f"{CPU}/online", "1")
            for cpu in (1, 0):
                report = run(bench, f"second-verified-{cpu}", f"zblk verify --cpu={cpu} {other}")
                run(bench, f"second-rewritten-{cpu}", f"zblk write --mix=mixed --cpu={cpu} {other}")
            report = run(bench, "second-verified", f"zblk verify {other}")
            zram.check_accounting(bench, "second", second, report)
            bench.checkpoint("second")

        run(bench, "filled", f"zblk write --mix=mixed {state}")
        buffers = _buffers(guest, page)
        run(bench, "cycled", _CYCLE.format(cpu=CPU, seconds=0, least=AT_REST))
        kept = _buffers(guest, page) - buffers
        bench.check(
            "residue/buffers",
            kept < 3 * AT_REST // 4,
            expected=f"fewer than {3 * AT_REST // 4} objects of a page more",
            seen=kept,
            because=f"what a processor has for each pool is freed or kept when it goes, {AT_REST} times",
        )
        run(bench, "cycled-verified", f"zblk verify {state}")
        run_together(
            bench,
            {
                "churned": f"{CHURN} --writers=3 --readers=2 --seconds={SECONDS} {state}",
                "cycling": _CYCLE.format(cpu=CPU, seconds=SECONDS, least=5),
                "compacting": f"poke --seconds={SECONDS} --every-ms=100 {device.sysfs}/compact",
            },
        )
        report = run(bench, "verified", f"zblk verify {state}")
        # Whether a buffer was used after it was freed.
        memory.validate_slabs(bench)
        zram.check_accounting(bench, "churned", device, report)
        zram.check_io_errors(bench, "all", device)
        bench.checkpoint("churned")
    zram.check_residue(bench, "removed", pages_before)


def _buffers(guest: Guest, page: int) -> int:
    """Objects of a page's size that the kernel has of its general caches.

    Shrinking a cache has it give up what is free, and what KASAN keeps of it to find its users.
    """
    name = f"kmalloc-{page >> 10}k"
    guest.write(f"/sys/kernel/slab/{name}/shrink", "1")
    return slabinfo.parse(guest.read(slabinfo.PATH).decode())[name].num_objs
