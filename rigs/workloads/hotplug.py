# SPDX-License-Identifier: GPL-2.0-only
"""The host plugs a module of memory in, and wants it back while zspages are in it."""

import time

from toolkit.workload import Bench, hotplug, workload, zram
from toolkit.workload.programs import CHURN, run_beside

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
        # One at least under load, and the last.
        "modules_pulled": TURNS + 2,
        "zs_page_migrate": 1000,
        "writes": 400,
        "bytes_verified": 2 * DISK_BYTES,
    },
)
def exercise(bench: Bench) -> None:
    """Plug memory in and pull it out, a zram disk in it, at rest and under load."""
    slots = hotplug.slots(bench)

    def pull() -> None:
        slots.pull_memory("module")
        bench.count("modules_pulled", 1)

    with zram.known_disk(bench, DISK_BYTES) as disk:
        # What can be moved goes to the zone that takes nothing else first: into the module.
        slots.plug_memory("module", MODULE_MIB)
        disk.run("filled", "write --mix=mixed --batch=16")
        bench.checkpoint("filled")
        for turn in range(TURNS):
            pull()
            disk.settle(f"rest-{turn}")
            slots.plug_memory("module", MODULE_MIB)
            # Written anew, and so in the module again.
            disk.run(f"rewritten-{turn}", "write --mix=spread --batch=16")

        def plug_and_pull() -> None:
            until = time.monotonic() + SECONDS
            while time.monotonic() < until:
                pull()
                slots.plug_memory("module", MODULE_MIB)

        run_beside(
            bench,
            {
                "churned": f"{CHURN} --writers=2 --readers=1 --seconds={SECONDS} {disk.options}",
                "compacting": f"poke --seconds={SECONDS} --every-ms=200 {disk.device.sysfs}/compact",
            },
            plug_and_pull,
        )
        disk.settle("churned")
        pull()
        disk.run("last-verified", "verify")
