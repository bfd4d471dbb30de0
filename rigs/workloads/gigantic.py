# SPDX-License-Identifier: GPL-2.0-only
"""Pages larger than any block of the buddy allocator are wanted where zspages are, in no zone made for that.

alloc_contig_pages() (mm/page_alloc.c) takes any range of a zone that has nothing in it that cannot be moved:
it has to ask has_unmovable_pages(), as nobody has to in ZONE_MOVABLE or CMA.
"""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import CHURN, run, run_together

DISK_BYTES = 24 << 20
SECONDS = 5
# The kernel may have pages for itself in a range, or the zspages may lie in none: then once more.
TURNS = 6
COUNTER = "pgmigrate_success"
# With pages of 4 KiB the buddy allocator has none so large, and a machine many of them.
GIGANTIC = "/sys/kernel/mm/hugepages/hugepages-32768kB/nr_hugepages"

# Takes as many pages as there can be, {seconds} long and once at least, and gives them back.
# Prints how often it was done, and how many pages there were at the most.
_TAKE = """
most=0 rounds=0 until=$(( $(cut -d. -f1 /proc/uptime) + {seconds} ))
while [ $rounds -lt 1 ] || [ $(cut -d. -f1 /proc/uptime) -lt $until ]; do
    echo 1000000 >{file}
    now=$(cat {file}) rounds=$((rounds + 1))
    [ $now -le $most ] || most=$now
    echo 0 >{file}
done
echo '{{"cycles": '$rounds', "most": '$most'}}'
"""


@workload(
    suites=["full"],
    deadline_s=300,
    single_threaded=False,
    needs=["ZRAM", "HUGETLBFS", "CONTIG_ALLOC", "ARM64_4K_PAGES"],
    machine="gigantic",
    floors={"cycles": 2, "zs_page_migrate": 200, "bytes_verified": 2 * DISK_BYTES},
)
def exercise(bench: Bench) -> None:
    """Want gigantic pages where a zram disk's zspages are, at rest and under load."""
    guest = bench.guest
    run(bench, "empty", _take())
    with zram.known_disk(bench, DISK_BYTES) as disk:
        most_moved = zspages = 0
        for _ in range(TURNS):
            # What was given back last is used first.
            disk.run("filled", "write --mix=mixed --batch=16")
            zspages = zram.nr_zspages(guest)
            before = memory.counters(guest, COUNTER)[COUNTER]
            taken = run(bench, "taken", _take()).number("most")
            most_moved = max(most_moved, memory.counters(guest, COUNTER)[COUNTER] - before)
            if taken and most_moved >= zspages // 2:
                break
            disk.run("emptied", "discard")
        bench.check(
            "gigantic/moved",
            most_moved >= zspages // 2,
            expected=f"{zspages // 2} pages or more",
            seen=most_moved,
            because="zspages lie where gigantic pages were, and can be moved",
        )
        disk.settle("taken")
        run_together(
            bench,
            {
                "churned": f"{CHURN} --writers=2 --readers=1 --seconds={SECONDS} {disk.options}",
                "busy": _take(SECONDS),
                "compacting": f"poke --seconds={SECONDS} --every-ms=300 {disk.device.sysfs}/compact",
            },
        )
        disk.settle("churned")


def _take(seconds: int = 0) -> str:
    return _TAKE.format(file=GIGANTIC, seconds=seconds)
