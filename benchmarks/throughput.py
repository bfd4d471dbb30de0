# SPDX-License-Identifier: GPL-2.0-only
"""Many short tests, each in a clone of its own: what one costs beyond itself, beside a boot.  Judges nothing.

python benchmarks/throughput.py [--tests 100] [--jobs 2] [--boots 5] [--rig single] [ARCHITECTURE...]
"""

from __future__ import annotations

import argparse
import concurrent.futures
import logging
import os
import tempfile
import time
from pathlib import Path

from boot import LIMIT_S, prepared

from toolkit.deadline import Deadline
from toolkit.kernel import arch as arches
from toolkit.rig import qemu_guest, template

# A test's own work: a disk is made, filled, verified and emptied.
TEST = (
    "n=$(cat /sys/class/zram-control/hot_add) && echo 4M >/sys/block/zram$n/disksize"
    " && s='--device=/dev/zram'$n' --state=/tmp/state' && zblk create --slots=256 --seed=1 $s >/dev/null"
    " && zblk write --mix=mixed $s >/dev/null && zblk verify $s >/dev/null && zblk discard $s >/dev/null"
)


def main() -> None:
    parser = argparse.ArgumentParser(description="What a test in a clone costs beyond itself.")
    parser.add_argument("--tests", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--boots", type=int, default=5)
    parser.add_argument("--rig", default="single", help="what tests of one thread run on, by default")
    parser.add_argument("archs", nargs="*", default=arches.names(), metavar="ARCHITECTURE")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for name in options.archs:
        setup = prepared(name, options.rig)
        frozen = template.template(setup, deadline=Deadline.after(LIMIT_S))

        def one(start: object, subject: object) -> tuple[float, float]:
            """Seconds of a whole test and of its own work."""
            with tempfile.TemporaryDirectory() as directory:
                begun = time.monotonic()
                with start(subject, Path(directory), deadline=Deadline.after(LIMIT_S)) as guest:  # type: ignore[operator]
                    working = time.monotonic()
                    guest.execute(TEST, deadline=Deadline.after(LIMIT_S))
                    worked = time.monotonic() - working
                return time.monotonic() - begun, worked

        def overhead(start: object, subject: object, count: int) -> tuple[float, float, float]:
            """Seconds a test beyond its own work, of its work, and of all tests on the wall clock."""
            begun = time.monotonic()
            with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
                taken = list(pool.map(lambda _: one(start, subject), range(count)))
            wall = time.monotonic() - begun
            whole, work = (sum(column) / count for column in zip(*taken, strict=True))
            return whole - work, work, wall

        cloned, work, wall = overhead(template.clone, frozen, options.tests)
        booted, _, _ = overhead(qemu_guest.boot, setup, options.boots)
        print(f"{name} by {setup.accelerator.name}, {options.rig}, {options.jobs} at a time", end="")
        print(f", load {os.getloadavg()[0]:.1f}")
        print(f"  {options.tests} tests in clones: {wall:.1f} s, {options.tests / wall * 3600:.0f} an hour")
        print(f"  a test's own work {work:.2f} s, beyond it {cloned:.2f} s; with a boot {booted:.2f} s")
        print(f"  the overhead is {cloned / booted:.2f} of a boot's")


if __name__ == "__main__":
    main()
