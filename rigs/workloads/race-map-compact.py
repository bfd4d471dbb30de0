# SPDX-License-Identifier: GPL-2.0-only
"""An object is mapped by a reader: compaction of the pool leaves its zspage alone until it is unmapped."""

from toolkit.workload import Bench, race
from toolkit.workload.race import at

# The objects of a zspage, or the most of them.
NEIGHBOURS = 32


@race.scene(floors={"holds": 2, "bytes_verified": 1, "waits": 1}, before=(6, 13))
def exercise(bench: Bench) -> None:
    """Read an object that compaction of the pool is about to move."""
    with race.stage(bench) as stage, stage.alike(spanning=True) as alike:
        # Compaction of the pool begins with what has fewest objects.
        alike.free(range(1, NEIGHBOURS))
        with stage.held(at("zcomp_decompress"), by=alike.reads(0)):
            with stage.held(at("zs_compact"), by=alike.compact, cpu=race.FREE) as mover:
                mover.waits(at("queued_write_lock_slowpath"))
            if not mover.reached:
                # It did not wait, and whatever it freed is used again.
                alike.refill(behind=0)
        stage.finish()
        alike.check_read("mapped", alike.content[0])
        alike.refill()
        alike.verify()
        bench.checkpoint("verified")
