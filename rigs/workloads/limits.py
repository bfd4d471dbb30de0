# SPDX-License-Identifier: GPL-2.0-only
"""What zram's attributes promise: limits that hold, requests that are refused, counters that count."""

from toolkit.workload import Bench, memory, modules, workload, zram
from toolkit.workload.programs import page_bytes, run

DISK_BYTES = 4 << 20
# Pages that a zspage may have; a pool that is full may exceed its limit by one.
CHAIN_PAGES = 16
SECTOR = 512
# Of two pages each, of which only the second takes no memory.
REQUESTS = 8
TOGETHER = "/tmp/together"
LAST = "/tmp/last"
# What the size of an entry of zram's table is a multiple of: a page's worth of such fill whole pages, and
# the next one is beyond what was mapped.
TABLE_UNIT = 8
# Of this size, the lower 32 bits are zero.
LARGE_BYTES = 4 << 30
# zram's own logical block, by its ZRAM_LOGICAL_BLOCK_SIZE.
BLOCK_BYTES = 4096
# What zram says of itself to whoever makes requests; None is a page.
_QUEUE = {
    "logical_block_size": BLOCK_BYTES,
    "physical_block_size": None,
    "minimum_io_size": None,
    "optimal_io_size": None,
    "discard_granularity": None,
    "discard_max_bytes": 0xFFFFFFFF * SECTOR,
    "rotational": 0,
    "add_random": 0,
    "stable_writes": 1,
}


@workload(
    suites=["quick", "full"],
    deadline_s=180,
    single_threaded=True,
    machine="single",
    needs=["ZRAM", "MODULES"],
    floors={"writes": 512, "bytes_verified": 3 * DISK_BYTES, "refused": 10, "failed_writes": 50},
)
def exercise(bench: Bench) -> None:
    """Ask zram for what it must refuse, fill a disk beyond its limit, and count what it did."""
    guest = bench.guest
    memory.keep_quiet(guest)
    pages_before = zram.nr_zspages(guest)
    page = page_bytes(guest)
    slots = zram.slots_for(guest, DISK_BYTES)

    with zram.added(guest) as device:

        def refused(label: str, attribute: str, value: str, why: str, of: zram.ZramDevice = device) -> None:
            zram.check_refused(bench, f"refused/{label}", of, attribute, value, why)
            bench.count("refused", 1)

        # To read hot_add makes a device: that, and to write anything, is root's alone.
        open_to_others = guest.execute(
            f"find {device.sysfs}/ {zram.CONTROL} -maxdepth 1 -type f"
            " '(' -perm /022 -o -name hot_add -perm /044 ')'",
            deadline=bench.deadline,
        )
        zram.expect(bench, "attributes/open-to-others", [], open_to_others.text.split())
        state = f"--device={device.device} --state=/tmp/limits.state --cpu=0"
        zram.expect(bench, "initstate/new", "0", device.attribute("initstate"))
        for label, attribute, value in (
            ("compact-early", "compact", "1"),
            ("idle-early", "idle", "all"),
            ("no-size", "disksize", "0"),
            ("reset-of-nothing", "reset", "0"),
            ("mem-limit-of-words", "mem_limit", "none"),
            ("no-such-algorithm", "comp_algorithm", "none-of-them"),
        ):
            refused(label, attribute, value, "Invalid argument")
        # A size is rounded up to whole pages.
        device.initialise(slots * page - 1)
        zram.expect(bench, "disksize/rounded", str(slots * page), device.attribute("disksize"))
        zram.expect(bench, "initstate/sized", "1", device.attribute("initstate"))
        zram.expect(bench, "size/sized", str(slots * page // SECTOR), device.attribute("size"))
        for name, value in _QUEUE.items():
            wanted = page if value is None else value
            zram.expect(bench, f"queue/{name}", str(wanted), device.attribute(f"queue/{name}"))
        whole = page == BLOCK_BYTES
        zram.expect(
            bench,
            "queue/write_zeroes_max_bytes",
            whole,
            device.attribute("queue/write_zeroes_max_bytes") != "0",
        )
        # In debugfs it has something only with ZRAM_MEMORY_TRACKING: without, ls says so, and lists the rest.
        there_is = f"ls -d {device.sysfs} {device.device} /sys/kernel/debug/zram/{device.name}/*"
        there = guest.execute(there_is, deadline=bench.deadline, ok=(0, 1)).text
        busy = "Device or resource busy"
        refused("size-twice", "disksize", str(page), busy)
        refused("algorithm-late", "comp_algorithm", "lzo", busy)
        held = guest.execute(
            f"exec 5<{device.device}; echo 1 | put {device.sysfs}/reset;"
            f" echo {device.number} | put {zram.CONTROL}/hot_remove",
            deadline=bench.deadline, ok=None,
        )  # fmt: skip
        zram.expect(bench, "refused/while-open", 2, held.stderr.decode().count(busy))
        bench.count("refused", 2)
        # What is refused takes nothing away either.
        zram.expect(
            bench, "refused/left", there, guest.execute(there_is, deadline=bench.deadline, ok=(0, 1)).text
        )
        erased = guest.execute(f"blkdiscard -s {device.device}", deadline=bench.deadline, ok=None)
        zram.expect(bench, "refused/secure-erase", True, b"not supported" in erased.stderr)
        bench.count("refused", 1)
        for number, why in (
            ("4095", "No such device"),
            ("-1", "Invalid argument"),
            ("one", "Invalid argument"),
        ):
            said = zram.put(guest, f"{zram.CONTROL}/hot_remove", number)
            zram.expect(bench, f"refused/hot_remove/{number}", why, said)
            bench.count("refused", 1)

        run(bench, "created", f"zblk create --slots={slots} --seed={bench.seed} {state}")
        before = _block_stat(device)
        report = run(bench, "filled", f"zblk write --mix=mixed {state}")
        zram.check_accounting(bench, "filled", device, report)
        _count_requests(bench, "filled", device, before, (0, report.number("writes")), page)
        before = _block_stat(device)
        report = run(bench, "verified", f"zblk verify {state}")
        _count_requests(bench, "verified", device, before, (report.number("reads"), 0), page)
        bench.checkpoint("filled")

        # What is written beyond the limit is lost, and what was there before is not.
        run(bench, "thinned", f"zblk discard --to={slots // 4} {state}")
        stat = device.mm_stat()

        # A limit a little above what there is, and far more to write.
        limit = (stat.mem_used_total // page + slots // 8) * page
        # It is rounded up to whole pages.
        guest.write(f"{device.sysfs}/mem_limit", str(limit - page + 1))
        zram.expect(bench, "mem_limit/set", limit, device.mm_stat().mem_limit)
        failed = device.io_stat()[1]
        report = run(bench, "limited", f"zblk write --mix=random --to={slots // 2} --tolerate {state}")
        errors = report.number("errors")
        bench.count("failed_writes", errors)
        zram.expect(bench, "mem_limit/failed_writes", failed + errors, device.io_stat()[1])
        stat = device.mm_stat()
        bench.check(
            "mem_limit/held",
            limit - CHAIN_PAGES * page <= stat.mem_used_total <= limit,
            expected=f"from {limit - CHAIN_PAGES * page} to {limit}",
            seen=stat.mem_used_total,
            because="what would exceed the limit is freed again, and until then all is written",
        )
        report = run(bench, "limited-verified", f"zblk verify {state}")
        zram.check_accounting(bench, "limited", device, report)
        bench.checkpoint("limited")
        # Of several pages in one request, what is lost is told whatever becomes of those behind it.
        empty = slots * 3 // 16 // 2
        # What is there afterwards nobody knows: 6.1 stores what comes behind where what failed was to be.
        guest.write(f"{device.sysfs}/mem_limit", str(stat.mem_used_total))
        guest.write(TOGETHER, bench.random.randbytes(page) + bytes(page))
        written = guest.execute(
            f"for pair in $(seq {empty} {empty + REQUESTS - 1}); do"
            f" dd if={TOGETHER} of={device.device} bs={2 * page} seek=$pair oflag=direct conv=notrunc"
            " 2>/dev/null && echo $pair; done; true",
            deadline=bench.deadline,
        )
        zram.expect(bench, "mem_limit/together", [], written.text.split())
        guest.write(f"{device.sysfs}/mem_limit", "0")
        run(bench, "unlimited", f"zblk write --mix=random --to={slots // 2} {state}")
        report = run(bench, "unlimited-verified", f"zblk verify {state}")
        zram.check_accounting(bench, "unlimited", device, report)
        zram.expect(bench, "io_stat/failed_reads", 0, device.io_stat()[0])
        run(bench, "emptied", f"zblk discard {state}")
        zram.check_emptied(bench, "emptied", device)
        bench.checkpoint("emptied")

        # Huge pages that there were are counted for ever, those that there are for as long as they are.
        since = _huge_since(device)
        for turn in (1, 2):
            run(bench, f"huge-{turn}", f"zblk write --mix=random --to={slots // 4} {state}")
            zram.expect(bench, f"huge_pages/{turn}", slots // 4, device.mm_stat().huge_pages)
            zram.expect(bench, f"huge_pages_since/{turn}", since + turn * (slots // 4), _huge_since(device))

        # The peak is what it was until it is asked to forget.
        # The model has not: there is no checkpoint before the pool is a new one.
        run(bench, "peaked", f"zblk write --mix=random {state}")
        peak = device.mm_stat().mem_used_max
        run(bench, "fallen", f"zblk discard --step=2 {state}")
        stat = device.mm_stat()
        zram.expect(bench, "mem_used_max/kept", peak, stat.mem_used_max)
        refused("peak-of-one", "mem_used_max", "1", "Invalid argument")
        guest.write(f"{device.sysfs}/mem_used_max", "0")
        zram.expect(bench, "mem_used_max/forgotten", stat.mem_used_total, device.mm_stat().mem_used_max)

        # With a limit that it has to forget.
        guest.write(f"{device.sysfs}/mem_limit", str(2 * slots * page))
        device.reset()
        zram.check_forgotten(bench, "reset", device)
        with zram.added(guest) as second:
            zram.expect(bench, "hot_add/number", True, second.number != device.number)
            second.initialise(LARGE_BYTES)
            zram.expect(bench, "initstate/large", "1", second.attribute("initstate"))
            zram.expect(bench, "disksize/large", str(LARGE_BYTES), second.attribute("disksize"))
            refused("large-size-twice", "disksize", str(LARGE_BYTES), busy, of=second)
        with zram.added(guest) as rounded:
            for whole_pages in (0, page // TABLE_UNIT):
                _check_rounded_up(bench, rounded, whole_pages * page + 1, page)
        gone = guest.execute(
            f"ls -d {second.sysfs} {second.device} /sys/kernel/debug/zram/{second.name} 2>/dev/null",
            deadline=bench.deadline, ok=None,
        )  # fmt: skip
        zram.expect(bench, "hot_remove/left", "", gone.text)
    # Its table was unmapped, and is given back with KASAN's shadow of it when a module is protected.
    with modules.memdisk(bench, 1):
        pass
    zram.check_residue(bench, "removed", pages_before)


def _check_rounded_up(bench: Bench, device: zram.ZramDevice, disksize_bytes: int, page: int) -> None:
    """Give a disk a size that is no multiple of the page's: the last page is one like the others."""
    slots = -(-disksize_bytes // page)
    zram.expect(bench, f"rounded/{slots}/refused", "", device.refuses("disksize", str(disksize_bytes)))
    zram.expect(bench, f"rounded/{slots}/disksize", str(slots * page), device.attribute("disksize"))
    content = bench.random.randbytes(page)
    bench.guest.write(LAST, content)
    last = f"bs={page} count=1"
    read = bench.guest.execute(
        f"dd if={LAST} of={device.device} {last} seek={slots - 1} oflag=direct conv=notrunc 2>/dev/null"
        f" && dd if={device.device} {last} skip={slots - 1} iflag=direct 2>/dev/null",
        deadline=bench.deadline,
    )
    zram.expect(bench, f"rounded/{slots}/last", True, content == read.stdout)
    device.reset()


def _huge_since(device: zram.ZramDevice) -> int:
    """Pages that were stored as huge since the device got its size (since 5.17)."""
    return int(device.attribute("mm_stat").split()[8])


def _block_stat(device: zram.ZramDevice) -> list[int]:
    return [int(word) for word in device.attribute("stat").split()]


def _count_requests(
    bench: Bench, label: str, device: zram.ZramDevice, before: list[int], wanted: tuple[int, int], page: int
) -> None:
    """What the block layer counted since `before`, against (reads, writes) of a page each."""
    after = _block_stat(device)
    for name, column, requests in (("reads", 0, wanted[0]), ("writes", 4, wanted[1])):
        zram.expect(bench, f"stat/{label}/{name}", requests, after[column] - before[column])
        sectors = after[column + 2] - before[column + 2]
        zram.expect(bench, f"stat/{label}/{name}-sectors", requests * page // SECTOR, sectors)
