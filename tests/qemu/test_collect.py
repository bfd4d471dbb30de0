# SPDX-License-Identifier: GPL-2.0-only
"""What is collected from guests that really run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.collect.printed import compare
from toolkit.collect import snapshot, vmstat, zsmalloc
from toolkit.collect.collector import collectors
from toolkit.collect.ftrace import MARK, TRACEFS, Recorder
from toolkit.collect.operations import traced
from toolkit.collect.samples import Sampler
from toolkit.deadline import Deadline
from toolkit.model.operations import Op
from toolkit.rig.qemu_guest import QemuGuest

pytestmark = [pytest.mark.qemu, pytest.mark.kernel]

FILES_S = 120.0
DISK = "--device=/dev/zram0 --state=/tmp/zblk.state"
CLASSES = "/sys/kernel/debug/zsmalloc/zram0/classes"


def soon() -> Deadline:
    return Deadline.after(FILES_S)


def with_disk(guest: QemuGuest) -> None:
    guest.write("/sys/block/zram0/disksize", "4M")
    page = int(guest.execute("getconf PAGESIZE 2>/dev/null || echo 4096", deadline=soon()).text)
    guest.execute(f"zblk create {DISK} --slots={(4 << 20) // page} --seed=1", deadline=soon())


def test_every_collector_finds_its_files_or_the_kernel_has_none(guest: QemuGuest) -> None:
    with_disk(guest)
    guest.execute(f"zblk write {DISK} --mix=spread", deadline=soon())
    taken = snapshot.take(guest, soon())
    read = {collector.name: collector.read_all(taken) for collector in collectors()}
    optional = {"shrinker", "tail_locks", "zram bd_stat"}
    assert {name for name, files in read.items() if not files} <= optional
    table = zsmalloc.COLLECTOR.read(taken, CLASSES)
    assert table.pages_used == vmstat.COLLECTOR.read(taken, vmstat.PATH)["nr_zspages"] > 0
    assert taken.unreadable == {}


def test_samples_cover_the_time_between_start_and_stop(guest: QemuGuest, tmp_path: Path) -> None:
    sampler = Sampler.start(guest, soon(), period_ms=20)
    with_disk(guest)
    guest.execute(f"zblk write {DISK} --mix=random && sleep 1", deadline=soon())
    taken = sampler.stop(guest, soon(), tmp_path)
    assert taken.uptime_s[-1] - taken.uptime_s[0] > 1
    assert len(taken) > 10
    used = taken.columns["zram/mem_used_total"]
    assert used[0] == 0
    assert used[-1] == used.max() > 1 << 20
    assert guest.execute("pidof capture", deadline=soon(), ok=None).text == ""


def test_what_is_decoded_is_what_the_kernel_prints(guest: QemuGuest, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.start(guest, soon())
    with_disk(guest)
    guest.execute(f"zblk write {DISK} --mix=spread", deadline=soon())
    guest.execute(f"printf '{MARK}filled' >{TRACEFS}/trace_marker", deadline=soon())
    guest.execute(f"zblk discard {DISK} --step=3", deadline=soon())
    guest.write("/sys/block/zram0/compact", "1")
    # In a guest that has just booted memory is compact as it is; this moves pages for sure.
    guest.execute("offline --pages=20 --tries=1200 --seed=1", deadline=soon())
    guest.write(f"{TRACEFS}/tracing_on", "0")
    text = guest.read(f"{TRACEFS}/trace").decode()
    recording = recorder.stop(guest, soon())
    decoded = recording.trace()
    assert not recording.losses(decoded)
    assert compare(decoded, text) > 1000
    done = traced(decoded)
    assert done.pools == ("zram0",)
    assert done.operations.marks == ("filled",)
    assert done.counts["zs_compact"] == np.count_nonzero(done.operations.op == Op.COMPACT) == 1
    assert done.counts["zs_page_migrate_success"] > 0


def test_draining_while_events_keep_coming_loses_none(guest: QemuGuest, tmp_path: Path) -> None:
    with_disk(guest)
    guest.execute(f"zblk write {DISK} --mix=spread", deadline=soon())
    before = zsmalloc.COLLECTOR.read(snapshot.take(guest, soon()), CLASSES)
    recorder = Recorder(tmp_path)
    recorder.start(guest, soon())
    churn = f"zblk churn {DISK} --mix=churn --writers=2 --readers=0 --operations=100000000 --seconds=600"
    guest.execute(f"{churn} >/tmp/churn.out 2>&1 & echo $! >/tmp/churn.pid", deadline=soon())
    for turn in range(3):
        guest.execute("sleep 1", deadline=soon())
        recorder.checkpoint(guest, f"drained-{turn}", soon())
        recorder.drain(guest, soon())
    guest.execute(
        "read pid </tmp/churn.pid; kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.1; done",
        deadline=soon(),
    )
    after = zsmalloc.COLLECTOR.read(snapshot.take(guest, soon()), CLASSES)
    recording = recorder.stop(guest, soon())
    decoded = recording.trace()
    assert not recording.losses(decoded)
    profile = recording.files[f"{TRACEFS}/kprobe_profile"]
    hits = {line.split()[0]: int(line.split()[1]) for line in profile.splitlines()}
    assert hits == {name: decoded.counts[name] for name in hits}
    operations = traced(decoded).operations
    made = np.count_nonzero(operations.op == Op.MALLOC)
    freed = np.count_nonzero(operations.op == Op.FREE)
    assert made > 100
    assert after.obj_used - before.obj_used == made - freed
    # Though two CPUs wrote, no handle was given out again before it was freed.
    of_handles = np.flatnonzero(np.isin(operations.op, (Op.MALLOC, Op.FREE)))
    by_handle = of_handles[np.lexsort((of_handles, operations.handle[of_handles]))]
    op, handle = operations.op[by_handle], operations.handle[by_handle]
    assert not ((handle[1:] == handle[:-1]) & (op[1:] == op[:-1])).any()


def test_a_buffer_that_is_too_small_is_a_loss_that_is_told(guest: QemuGuest, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.start(guest, soon())
    guest.execute(f"echo 8 >{TRACEFS}/buffer_size_kb", deadline=soon())
    with_disk(guest)
    guest.execute(f"zblk write {DISK} --mix=spread", deadline=soon())
    recording = recorder.stop(guest, soon())
    losses = recording.losses(recording.trace())
    assert losses.dropped > 100
    assert str(losses).endswith(" dropped")
