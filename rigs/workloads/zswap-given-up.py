# SPDX-License-Identifier: GPL-2.0-only
"""A pool of zswap that was full is given up, and must be destroyed.

Stock 6.1.192 never does: each page that it refuses takes a reference to the pool, for a worker that
drops one reference whenever it runs (zswap_frontswap_store(), shrink_worker(), mm/zswap.c).
"""

from toolkit.workload import Bench, workload, zram, zswap
from toolkit.workload.programs import run_together

# What each of two programs has paged out; compressed, a third of it is left.
COLD_MIB = 6
LIMIT_PERCENT = 1
SWAP = "/dev/ram0"


@workload(
    suites=[],
    deadline_s=240,
    single_threaded=False,
    needs=["ZSWAP", "BLK_DEV_RAM"],
    machine="small",
    floors={"bytes_verified": 2 * COLD_MIB << 20, "limit_hits": 10},
)
def exercise(bench: Bench) -> None:
    """Swap through zswap beyond its limit, and have it use another pool."""
    guest = bench.guest
    zswap.enable(bench, max_pool_percent=str(LIMIT_PERCENT), compressor=zswap.COMPRESSORS[0])
    zram.fill_backing(bench, SWAP)
    guest.execute(f"mkswap {SWAP} && swapon {SWAP}", deadline=bench.deadline)
    cold = f"cold --mib={COLD_MIB} --seconds=1"
    run_together(bench, {"one": cold, "other": cold})
    guest.execute(f"swapoff {SWAP}", deadline=bench.deadline)
    bench.count("limit_hits", int(guest.read(zswap.LIMIT_HIT)))
    bench.checkpoint("limited")
    guest.write(zswap.COMPRESSOR, zswap.COMPRESSORS[1])
    zswap.expect_one_pool(bench, "given-up")
