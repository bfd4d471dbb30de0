# SPDX-License-Identifier: GPL-2.0-only
"""A slot of a zram disk is written while it is being read: the writer waits with freeing what is read."""

from toolkit.workload import Bench, race
from toolkit.workload.race import at


@race.scene(floors={"holds": 2, "bytes_verified": 1}, before=(6, 13))
def exercise(bench: Bench) -> None:
    """Write a slot that is being read."""
    with race.stage(bench) as stage, stage.alike(spanning=True) as alike:
        before = alike.change(0)
        with stage.held(at("zcomp_decompress"), by=alike.reads(0)):
            with stage.held(at("zs_unmap_object"), by=alike.writes(0), cpu=race.FREE) as writer:
                waits = writer.spins_before(at("zs_free"))
            bench.check(
                "slot-lock",
                waits,
                expected="the writer waits for the slot",
                seen="it waits" if waits else "it came to zs_free()",
                because="what a reader decompresses must not be freed meanwhile",
            )
        stage.finish()
        alike.check_read("mapped", before)
        alike.refill()
        alike.verify()
        bench.checkpoint("verified")
