# SPDX-License-Identifier: GPL-2.0-only
"""Contiguous memory is allocated where zspages are: all of them have to go, at rest and under load."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import CHURN, Report, page_bytes, run, run_together

DISK_BYTES = 24 << 20
SECONDS = 5

# Takes all of the area piece by piece, {rounds} times and {seconds} long at least, and gives it back
# each time.  A page that somebody holds for a moment stops a piece, so one that is refused is
# tried again.  Prints how many pages were taken, in all and at the most.
_TAKE = """
cd /sys/kernel/debug/cma/*/
taken=0 most=0 rounds=0 until=$(( $(cut -d. -f1 /proc/uptime) + {seconds} ))
piece=$(( $(cat count) / {pieces} ))
while [ $rounds -lt {rounds} ] || [ $(cut -d. -f1 /proc/uptime) -lt $until ]; do
    now=0 tries={tries}
    while [ $tries -gt 0 ] && [ $((now + piece)) -le $(cat count) ]; do
        if echo $piece 2>/dev/null >alloc; then
            now=$((now + piece)) tries={tries}
        else
            tries=$((tries - 1)); sleep 0.1
        fi
    done
    [ $now = 0 ] || echo $now >free || exit 1
    taken=$((taken + now)) rounds=$((rounds + 1))
    [ $now -le $most ] || most=$now
done
echo '{{"cycles": '$rounds', "taken": '$taken', "most": '$most', "left": '$(cat used)'}}'
"""
PIECES = 48
# Takes a little and gives it back, so often; a pageblock, of 512 pages or more, is isolated each time.  Then
# it takes so many pieces side by side, each of which ends in the middle of a block, and gives them back.
TURNS = 8
_TAKE_A_LITTLE = f"""
cd /sys/kernel/debug/cma/*/
for turn in $(seq {TURNS}); do echo 1 >alloc && echo 1 >free || exit 1; done
piece=$(( $(cat count) / 64 + 1 )) tries=50
for turn in $(seq {TURNS}); do
    until echo $piece 2>/dev/null >alloc; do
        tries=$((tries - 1)); [ $tries -gt 0 ] || exit 1; sleep 0.1
    done
done
echo $(( {TURNS} * piece )) >free
"""
# Where those pieces are going to lie nobody has a page then.
_CLEAR = f"""
cd /sys/kernel/debug/cma/*/
all=$(( $(cat count) * {TURNS + 2} / 64 )) tries=50
until echo $all 2>/dev/null >alloc; do tries=$((tries - 1)); [ $tries -gt 0 ] || exit 1; sleep 0.1; done
echo $all >free
"""
# Of what is free outside the area so much is scattered: more than all of it, and half of that, which is
# locked and stays, less.
SCATTERED = 1.4
# What else is freed or allocated there meanwhile.
NOISE_PAGES = 1024
FREE = "nr_free_cma"


@workload(
    suites=["quick", "full"],
    deadline_s=300,
    single_threaded=False,
    needs=["ZRAM", "CMA_DEBUGFS", "DMA_CMA"],
    machine="contiguous",
    floors={
        "cycles": 4,
        "zs_page_migrate": 500,
        "bytes_verified": 2 * DISK_BYTES,
        "locked_pages_in_the_area": 16,
    },
)
def exercise(bench: Bench) -> None:
    """Allocate contiguous memory where a zram disk's zspages are, at rest and under load."""
    # Who counts too many as free soon finds none: this is looked at before much is taken.
    bench.guest.execute(_CLEAR, deadline=bench.deadline)
    free = memory.counters(bench.guest, FREE)[FREE]
    bench.guest.execute(_TAKE_A_LITTLE, deadline=bench.deadline)
    counted = memory.counters(bench.guest, FREE)[FREE]
    bench.check(
        "contiguous/free",
        abs(counted - free) <= NOISE_PAGES,
        expected=f"{free} free pages, or some {NOISE_PAGES} more or less",
        seen=counted,
        because="all that was taken was given back",
    )
    empty = run(bench, "empty", _take(0, tries=10))
    _take_from_locked(bench, empty)
    # It leaves hints for itself where it found nothing to move: whoever wants a certain place ignores them.
    bench.guest.write(memory.COMPACT, "1")
    with zram.known_disk(bench, DISK_BYTES) as disk:
        disk.run("filled", "write --mix=mixed --batch=16")
        bench.checkpoint("filled")
        for turn in ("first", "second"):
            report = run(bench, turn, _take(0, tries=10))
            bench.check(
                f"contiguous/{turn}",
                report.number("most") >= empty.number("most")
                and report.number("left") == empty.number("left"),
                expected=f"{empty.number('most')} pages, all given back",
                seen=f"{report.number('most')}, {report.number('left') - empty.number('left')} kept",
                because="what could be taken while it was empty can be again: all in it can be moved",
            )
            disk.settle(turn)
        run_together(
            bench,
            {
                "churned": f"{CHURN} --writers=2 --readers=1 --seconds={SECONDS} {disk.options}",
                "busy": _take(SECONDS, tries=1),
                "compacting": f"poke --seconds={SECONDS} --every-ms=300 {disk.device.sysfs}/compact",
            },
        )
        disk.settle("churned")


def _take_from_locked(bench: Bench, empty: Report) -> None:
    """Compaction may leave unevictable pages where they are, and shall now: who wants a place may not."""
    guest = bench.guest
    allowed = guest.read(memory.COMPACT_UNEVICTABLE).decode()
    guest.write(memory.COMPACT_UNEVICTABLE, "0")
    pages = memory.counters(guest, "nr_free_pages", FREE)
    outside_mib = (pages["nr_free_pages"] - pages[FREE]) * page_bytes(guest) >> 20
    with memory.scattered(bench, int(outside_mib * SCATTERED), locked=True):
        used = empty.number("most") - memory.counters(guest, FREE)[FREE]
        bench.count("locked_pages_in_the_area", max(0, used))
        report = run(bench, "locked", _take(0, tries=4))
    guest.write(memory.COMPACT_UNEVICTABLE, allowed)
    bench.check(
        "contiguous/locked",
        report.number("most") >= empty.number("most"),
        expected=f"{empty.number('most')} pages",
        seen=report.number("most"),
        because="what is locked can be moved, whatever compaction does with it",
    )


def _take(seconds: int, *, tries: int) -> str:
    return _TAKE.format(seconds=seconds, rounds=1, pieces=PIECES, tries=tries)
