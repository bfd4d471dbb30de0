# SPDX-License-Identifier: GPL-2.0-only
"""Memory is fragmented and compacted while zspages are made, used and freed in it."""

from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.programs import CHURN, run_together

DISK_BYTES = 16 << 20
SECONDS = 6

# Half a second, in ticks of a hundredth (USER_HZ).
HALF = 50
PROACTIVENESS = "/proc/sys/vm/compaction_proactiveness"
# Has the kernel compact of its own accord, and prints how much of each of some seconds it was busy with
# that, in clock ticks (proc(5), fields 14 and 15); ends with a second in which it was not.
_PROACTIVE = f"""
ticks() {{ cat /proc/$(pidof kcompactd0)/stat | awk '{{ print $14 + $15 }}'; }}
echo 20 >{PROACTIVENESS}
for second in $(seq 10); do
    before=$(ticks); sleep 1; busy=$(($(ticks) - before))
    echo $busy
    [ $busy -gt {HALF} ] || break
done
"""


@workload(
    suites=["quick", "full"],
    deadline_s=300,
    single_threaded=False,
    needs=["ZRAM", "COMPACTION"],
    floors={"cycles": 2, "bytes_verified": DISK_BYTES, "zs_page_migrate": 100},
)
def exercise(bench: Bench) -> None:
    """Compact fragmented memory, zspages in the way, while a zram disk is churned."""
    guest = bench.guest
    with zram.known_disk(bench, DISK_BYTES) as disk:
        fragment_mib = memory.available_mib(guest) // 8
        run_together(
            bench,
            {
                "churned": f"{CHURN} --writers=2 --readers=1 --seconds={SECONDS} {disk.options}",
                "fragmented": f"fragment --mib={fragment_mib} --seconds={SECONDS} --hold-ms=200 --cycles=2 "
                f"--compact={memory.COMPACT}",
            },
        )
        disk.settle("churned")

        busy = _proactive(bench)
        bench.check(
            "compaction/proactive",
            busy[-1] <= HALF,
            expected=f"{HALF} ticks or less in a second, soon",
            seen=busy,
            because="it is asked once, and rests when there is nothing to do",
        )
        # At rest: what is left is all at one end, where nothing but compaction moved it.
        guest.write(memory.COMPACT, "1")
        disk.run("moved", "verify")
        bench.checkpoint("moved")
        zram.check_io_errors(bench, "all", disk.device)


def _proactive(bench: Bench) -> list[int]:
    """How busy kcompactd was, second by second, after it was asked to compact once."""
    guest = bench.guest
    before = guest.read(PROACTIVENESS).decode()
    # Some seconds, but for a kernel that is busy with that for ever.
    output = guest.execute(_PROACTIVE, deadline=bench.deadline.at_most(100))
    guest.write(PROACTIVENESS, before)
    return [int(line) for line in output.text.split()]
