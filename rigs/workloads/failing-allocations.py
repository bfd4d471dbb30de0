# SPDX-License-Identifier: GPL-2.0-only
"""Allocations fail while a disk is made, written and compacted: an error, and nothing lost or left."""

from toolkit.workload import Bench, failing, memory, workload, zram
from toolkit.workload.programs import page_bytes, run

DISK_BYTES = 6 << 20
# Every allocation that setting a size makes fails once, up to so many, then every so-many-th.
EACH, STRIDE, LAST = 40, 9, 400

# Sets the size again and again while the N-th allocation of the writing task fails.  Prints how
# often one failed and the size was refused, and how often there was no N-th one.
_NTH = """
refused=0 reached=0 beyond=0 n=1
while [ $n -le {last} ] && [ $beyond -lt 2 ]; do
    left=$( sh -c 'echo '$n' >/proc/self/fail-nth; echo {size} 2>/dev/null >{sysfs}/disksize;
        read left </proc/self/fail-nth; echo 0 >/proc/self/fail-nth; echo $left' 2>/dev/null )
    if [ "$left" = 0 ]; then reached=$((reached + 1)); else beyond=$((beyond + 1)); fi
    if [ $(cat {sysfs}/initstate) = 1 ]; then
        echo 1 >{sysfs}/reset || exit 1
    else
        refused=$((refused + 1))
    fi
    if [ $n -lt {each} ]; then n=$((n + 1)); else n=$((n + {stride})); fi
done
echo $reached $refused
"""
# The same with new devices, each of which is removed again if it came to be.
_NTH_DEVICE = """
refused=0 reached=0 beyond=0 n=1
while [ $n -le {last} ] && [ $beyond -lt 2 ]; do
    made=$( sh -c 'echo '$n' >/proc/self/fail-nth; read number <{control}/hot_add;
        read left </proc/self/fail-nth; echo 0 >/proc/self/fail-nth; echo $left $number' 2>/dev/null )
    if [ "${{made%% *}}" = 0 ]; then reached=$((reached + 1)); else beyond=$((beyond + 1)); fi
    number=${{made#* }}
    if [ "$number" != "$made" ] && [ "$number" ]; then
        echo $number >{control}/hot_remove || exit 1
    else
        refused=$((refused + 1))
    fi
    n=$((n + 1))
done
echo $reached $refused
"""
# Of those that making a device takes.
LAST_DEVICE = 40


@workload(
    suites=["quick", "full"],
    deadline_s=240,
    single_threaded=False,
    machine="failing",
    needs=["ZRAM", *failing.NEEDS],
    floors={
        "writes": 512,
        "bytes_verified": DISK_BYTES,
        "failed_writes": 50,
        "refused_sizes": 10,
        "refused_devices": 5,
    },
)
def exercise(bench: Bench) -> None:
    """Let allocations fail under zram and zsmalloc, and find every byte and every page."""
    guest = bench.guest
    pages_before = zram.nr_zspages(guest)
    page = page_bytes(guest)
    slots = zram.slots_for(guest, DISK_BYTES)
    failing.prepare(guest)

    devices = guest.execute("ls /sys/block", deadline=bench.deadline).text
    script = _NTH_DEVICE.format(last=LAST_DEVICE, control=zram.CONTROL)
    reached, refused = map(int, guest.execute(script, deadline=bench.deadline).text.split())
    bench.count("refused_devices", refused)
    zram.expect(
        bench, "refused/devices", devices, guest.execute("ls /sys/block", deadline=bench.deadline).text
    )

    with zram.added(guest) as device:
        script = _NTH.format(last=LAST, each=EACH, stride=STRIDE, size=slots * page, sysfs=device.sysfs)
        reached, refused = map(int, guest.execute(script, deadline=bench.deadline).text.split())
        bench.count("failed_allocations", reached)
        bench.count("refused_sizes", refused)
        zram.check_residue(bench, "refused", pages_before)
        bench.checkpoint("refused")

        device.initialise(slots * page)
        state = f"--device={device.device} --state=/tmp/failing.state"
        run(bench, "created", f"zblk create --slots={slots} --seed={bench.seed} {state}")
        failing.only_marked_caches(guest)
        for label, pages, slabs, mix in (
            ("pages", 30, 0, "spread"),
            ("slabs", 0, 30, "mixed"),
            ("both", 15, 15, "small"),
        ):
            failing.let_fail(guest, pages_percent=pages, slabs_percent=slabs)
            report = run(bench, label, f"zblk write --mix={mix} --tolerate --failing {state}")
            failing.let_fail(guest)
            bench.count("failed_writes", report.number("errors"))
            report = run(bench, f"{label}-verified", f"zblk verify {state}")
            zram.check_accounting(bench, label, device, report)
            bench.checkpoint(label)
        run(bench, "thinned", f"zblk discard --step=2 {state}")
        failing.let_fail(guest, slabs_percent=50)
        guest.execute(
            f"echo 1 >/proc/self/make-it-fail; put {device.sysfs}/compact",
            deadline=bench.deadline,
            stdin=b"1",
        )
        failing.let_fail(guest)
        report = run(bench, "compacted", f"zblk verify {state}")
        zram.check_accounting(bench, "compacted", device, report)
        bench.checkpoint("compacted")
        run(bench, "emptied", f"zblk discard {state}")
        zram.check_emptied(bench, "emptied", device)
        bench.checkpoint("emptied")
    zram.check_residue(bench, "removed", pages_before)
    memory.counters(guest, "nr_zspages")
