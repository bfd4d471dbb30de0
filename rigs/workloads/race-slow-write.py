# SPDX-License-Identifier: GPL-2.0-only
"""A writer gets memory for what it has compressed only when it waits for it: it compresses that again.

What it had compressed is in a buffer of its processor, which another writer may use meanwhile.
"""

import errno

from toolkit.workload import Bench, race
from toolkit.workload.race import at

# Of crypto_comp_compress(tfm, src, slen, dst, dlen): where the compressed data goes.
_TO = 3
OTHERS = b"\xa5" * 256


@race.scene(floors={"holds": 3, "bytes_verified": 1}, before=(6, 12))
def exercise(bench: Bench) -> None:
    """Write a page whose object gets no memory at once, while its buffer is another's."""
    with race.stage(bench) as stage, stage.alike(spanning=False) as alike:
        alike.change(0)
        with stage.held(at("crypto_comp_compress"), by=alike.writes(0)) as writer:
            buffer = writer.argument(_TO)
            writer.on_to(at("zs_malloc"))
            writer.fail(errno.ENOMEM)
            writer.on_to(at("zs_malloc"))
            writer.overwrite(buffer, OTHERS)
        stage.finish()
        bench.check(
            "stalled",
            (stalls := alike.device.debug_stat().writestall) == 1,
            expected=1,
            seen=stalls,
            because="zram counts who had to wait for memory",
        )
        alike.refill(behind=0)
        alike.verify()
        bench.checkpoint("verified")
