# SPDX-License-Identifier: GPL-2.0-only
"""A slot of a zram disk is written, or discarded, while it is being read: what is read is not freed."""

from toolkit.workload import Bench, race
from toolkit.workload.race import at


@race.scene(floors={"holds": 4, "bytes_verified": 1}, before=(6, 13))
def exercise(bench: Bench) -> None:
    """Write a slot that is being read, and discard it."""
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

        with stage.held(at("zcomp_decompress"), by=alike.reads(0)):
            with stage.held(at("zram_submit_bio"), by=alike.discards(0), cpu=race.FREE) as discarder:
                waits = discarder.spins_before(at("bio_endio"))
            bench.check(
                "discarded/slot-lock",
                waits,
                expected="who discards waits for the slot",
                seen="it waits" if waits else "it came to bio_endio()",
                because="a disk that says it was discarded may hold nothing there",
            )
        stage.finish()
        alike.check_read("discarded", alike.content[0])
        alike.refill()
        alike.verify()
        bench.checkpoint("verified")
