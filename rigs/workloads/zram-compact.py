# SPDX-License-Identifier: GPL-2.0-only
"""zsmalloc's own compaction: zspages that became sparse are merged, from one thread."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import page_bytes

DISK_BYTES = 8 << 20


@workload(
    suites=["smoke", "quick", "full"],
    deadline_s=180,
    single_threaded=True,
    machine="single",
    needs=["ZRAM"],
    floors={"bytes_verified": 3 * DISK_BYTES // 2, "pages_compacted": 50},
)
def exercise(bench: Bench) -> None:
    """Thin out a zram disk's zspages and compact them by sysfs, from one thread."""
    guest = bench.guest
    memory.keep_quiet(guest)
    page = page_bytes(guest)
    with zram.known_disk(bench, DISK_BYTES, "--cpu=0") as disk:
        # Of an empty pool there is nothing to compact, and later there is.
        disk.device.compact()
        disk.run("small", f"write --mix=small --to={disk.slots // 2}")
        report = disk.run("filled", f"write --mix=spread --from={disk.slots // 2}")
        zram.check_accounting(bench, "filled", disk.device, report)
        bench.checkpoint("filled")

        for name, thin in (
            ("halved", "discard --step=2"),
            ("quartered", "discard --from=1 --step=4"),
            ("refilled", "write --mix=mixed --step=3"),
            ("thinned", "discard --from=1 --step=3"),
        ):
            report = disk.run(name, thin)
            before = zram.check_accounting(bench, name, disk.device, report)
            bench.checkpoint(name)
            disk.device.compact()
            after = zram.check_accounting(bench, f"{name}-compacted", disk.device, report)
            bench.checkpoint(f"{name}-compacted")
            compacted = after.pages_compacted - before.pages_compacted
            bench.count("pages_compacted", compacted)
            bench.check(
                f"accounting/{name}/pages_compacted",
                before.mem_used_total - after.mem_used_total == compacted * page,
                expected=f"{compacted} pages less than {before.mem_used_total // page}",
                seen=after.mem_used_total // page,
                because="nothing else frees pages meanwhile",
            )
            disk.run(f"{name}-verified", "verify")

        # The same by the shrinker, which asks how much there is to gain.
        report = disk.run("shrinkable", "discard --from=2 --step=3")
        before = zram.check_accounting(bench, "shrinkable", disk.device, report)
        bench.checkpoint("shrinkable")
        guest.write("/proc/sys/vm/drop_caches", "2")
        after = zram.check_accounting(bench, "shrunk", disk.device, report)
        bench.check(
            "accounting/shrunk/pages_compacted",
            after.pages_compacted > before.pages_compacted,
            expected=f"more than {before.pages_compacted}",
            seen=after.pages_compacted,
            because="two thirds of all objects are gone, and the shrinker was told to free what it can",
        )
        bench.checkpoint("shrunk")
        disk.run("shrunk-verified", "verify")

        disk.empty()
