# SPDX-License-Identifier: GPL-2.0-only
"""The host plugs a module of memory in, and wants it back while zspages are in it."""

import time

from toolkit.workload import Bench, hotplug, workload, zram
from toolkit.workload.programs import CHURN, page_bytes, run, run_beside

DISK_BYTES = 24 << 20
MODULE_MIB = 128
SECONDS = 8
TURNS = 3


# On arm64 QEMU's board has no slots for memory without ACPI.
@workload(
    suites=["full"],
    deadline_s=300,
    single_threaded=False,
    needs=["ZRAM", "MEMORY_HOTREMOVE", "ACPI_HOTPLUG_MEMORY"],
    machine="pluggable",
    floors={
        "modules_pulled": TURNS + 4,
        "zs_page_migrate": 1000,
        "writes": 400,
        "bytes_verified": 2 * DISK_BYTES,
    },
)
def exercise(bench: Bench) -> None:
    """Plug memory in and pull it out, a zram disk in it, at rest and under load."""
    guest = bench.guest
    slots = hotplug.slots(bench)
    pages_before = zram.nr_zspages(guest)
    disk_slots = zram.slots_for(guest, DISK_BYTES)

    def pull() -> None:
        slots.pull_memory("module")
        bench.count("modules_pulled", 1)

    with zram.disk(guest, disk_slots * page_bytes(guest)) as device:
        state = f"--device={device.device} --state=/tmp/hotplug.state"
        run(bench, "created", f"zblk create --slots={disk_slots} --seed={bench.seed} {state}")
        # What can be moved goes to the zone that takes nothing else first: into the module.
        slots.plug_memory("module", MODULE_MIB)
        run(bench, "filled", f"zblk write --mix=mixed --batch=16 {state}")
        bench.checkpoint("filled")
        for turn in range(TURNS):
            pull()
            report = run(bench, f"verified-{turn}", f"zblk verify {state}")
            zram.check_accounting(bench, f"rest-{turn}", device, report)
            bench.checkpoint(f"rest-{turn}")
            slots.plug_memory("module", MODULE_MIB)
            # Written anew, and so in the module again.
            run(bench, f"rewritten-{turn}", f"zblk write --mix=spread --batch=16 {state}")

        def plug_and_pull() -> None:
            until = time.monotonic() + SECONDS
            while time.monotonic() < until:
                pull()
                slots.plug_memory("module", MODULE_MIB)

        run_beside(
            bench,
            {
                "churned": f"{CHURN} --writers=2 --readers=1 --seconds={SECONDS} {state}",
                "compacting": f"poke --seconds={SECONDS} --every-ms=200 {device.sysfs}/compact",
            },
            plug_and_pull,
        )
        report = run(bench, "churn-verified", f"zblk verify {state}")
        zram.check_accounting(bench, "churned", device, report)
        zram.check_io_errors(bench, "all", device)
        bench.checkpoint("churned")
        pull()
        run(bench, "last-verified", f"zblk verify {state}")
    zram.check_residue(bench, "removed", pages_before)
