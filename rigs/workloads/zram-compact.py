# SPDX-License-Identifier: GPL-2.0-only
"""zsmalloc's own compaction: zspages that became sparse are merged, from one thread."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import page_bytes, run

DISK_BYTES = 8 << 20


@workload(
    suites=["smoke", "quick", "full"],
    deadline_s=180,
    single_threaded=True,
    needs=["ZRAM"],
    floors={"bytes_verified": 3 * DISK_BYTES // 2, "pages_compacted": 50},
)
def exercise(bench: Bench) -> None:
    """Thin out a zram disk's zspages and compact them by sysfs, from one thread."""
    guest = bench.guest
    memory.keep_quiet(guest)
    pages_before = zram.nr_zspages(guest)
    page = page_bytes(guest)
    slots = zram.slots_for(guest, DISK_BYTES)
    with zram.disk(guest, slots * page) as device:
        state = f"--device={device.device} --state=/tmp/compact.state --cpu=0"
        run(bench, "created", f"zblk create --slots={slots} --seed={bench.seed} {state}")
        run(bench, "small", f"zblk write --mix=small --to={slots // 2} {state}")
        report = run(bench, "filled", f"zblk write --mix=spread --from={slots // 2} {state}")
        zram.check_accounting(bench, "filled", device, report)
        bench.checkpoint("filled")

        for name, thin in (
            ("halved", "discard --step=2"),
            ("quartered", "discard --from=1 --step=4"),
            ("refilled", "write --mix=mixed --step=3"),
            ("thinned", "discard --from=1 --step=3"),
        ):
            report = run(bench, name, f"zblk {thin} {state}")
            before = zram.check_accounting(bench, name, device, report)
            bench.checkpoint(name)
            device.compact()
            after = zram.check_accounting(bench, f"{name}-compacted", device, report)
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
            run(bench, f"{name}-verified", f"zblk verify {state}")

        # The same by the shrinker, which asks how much there is to gain.
        report = run(bench, "shrinkable", f"zblk discard --from=2 --step=3 {state}")
        before = zram.check_accounting(bench, "shrinkable", device, report)
        bench.checkpoint("shrinkable")
        guest.write("/proc/sys/vm/drop_caches", "2")
        after = zram.check_accounting(bench, "shrunk", device, report)
        bench.check(
            "accounting/shrunk/pages_compacted",
            after.pages_compacted > before.pages_compacted,
            expected=f"more than {before.pages_compacted}",
            seen=after.pages_compacted,
            because="two thirds of all objects are gone, and the shrinker was told to free what it can",
        )
        bench.checkpoint("shrunk")
        run(bench, "shrunk-verified", f"zblk verify {state}")

        run(bench, "emptied", f"zblk discard {state}")
        zram.check_emptied(bench, "emptied", device)
        zram.check_io_errors(bench, "all", device)
        bench.checkpoint("emptied")
    zram.check_residue(bench, "removed", pages_before)
