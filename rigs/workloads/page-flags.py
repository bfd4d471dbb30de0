# SPDX-License-Identifier: GPL-2.0-only
"""What the pages of zspages look like from outside, against what the series' variant declares."""

from __future__ import annotations

from collections.abc import Mapping

from toolkit.collect import zoneinfo
from toolkit.workload import Bench, memory, workload, zram
from toolkit.workload.modules import Equipped
from toolkit.workload.programs import run

DISK_BYTES = 12 << 20

# include/uapi/linux/kernel-page-flags.h and include/linux/kernel-page-flags.h, the same since 4.16.
_BITS = {
    "LRU": 5, "SLAB": 7, "BUDDY": 10, "MMAP": 11, "ANON": 12, "SWAPCACHE": 13, "HEAD": 15, "TAIL": 16,
    "HUGE": 17, "UNEVICTABLE": 18, "HWPOISON": 19, "NOPAGE": 20, "PGTABLE": 26, "RESERVED": 32,
    "PRIVATE": 35, "PRIVATE_2": 36, "OWNER_PRIVATE": 37,
}  # fmt: skip
# With one of these a frame is not zsmalloc's.
_FOREIGN = (
    "LRU", "SLAB", "BUDDY", "ANON", "SWAPCACHE", "HEAD", "HUGE", "UNEVICTABLE", "HWPOISON", "NOPAGE",
    "PGTABLE", "RESERVED",
)  # fmt: skip
# What a kernel without a variant uses to know its pages by, and a pageless one must not: 6.1 keeps an
# offset where the count of mappings is, so that its pages look mapped.
_OF_OWNER = ("MMAP", "PRIVATE", "PRIVATE_2", "OWNER_PRIVATE")
_PLAIN: frozenset[str] = frozenset()
# The looks that a variant declares of each page at rest: flags it has, of TAIL and _OF_OWNER.
_DECLARED: Mapping[str, frozenset[str]] = {"owner": _PLAIN, "compound": frozenset({"TAIL"})}
# One of so many pages may be somebody else's, allocated meanwhile.
_NOISE = 16


@workload(
    suites=["quick", "full"],
    deadline_s=120,
    single_threaded=True,
    machine="single",
    needs=["ZRAM", "PROC_PAGE_MONITOR"],
    floors={"pages_looked_at": 20, "bytes_verified": DISK_BYTES},
)
def exercise(bench: Bench) -> None:
    """Look at the flags of zsmalloc's pages in /proc/kpageflags."""
    assert isinstance(bench, Equipped)
    guest = bench.guest
    memory.keep_quiet(guest)
    pages_before = zram.nr_zspages(guest)
    with zram.known_disk(bench, DISK_BYTES, "--cpu=0") as disk:
        before = _looks(bench)
        disk.run("filled", "write --mix=mixed")
        after = _looks(bench)
        pages = zram.nr_zspages(guest) - pages_before
        bench.checkpoint("filled")
        new = {look: after.get(look, 0) - before.get(look, 0) for look in {*before, *after}}
        # What cannot be seen in there proves nothing.
        bench.count("pages_looked_at", max(0, min(pages, sum(new.values()))))
        seen = ", ".join(f"{count} {_words(look)}" for look, count in new.items() if count)
        if bench.internals.variant in _DECLARED:
            declared, noise = _DECLARED[bench.internals.variant], pages // _NOISE
            because = f"the variant {bench.internals.variant} leaves no other flag of struct page to zsmalloc"
            # Plain pages are not counted: somebody else's are plain, too.
            others = sum(count for look, count in new.items() if look not in (declared, _PLAIN))
            bench.check(
                "declared/no-other",
                others <= noise,
                expected=f"of {pages} pages {noise} at the most that are not {_words(declared)}",
                seen=seen,
                because=because,
            )
            if declared:
                bench.check(
                    "declared/flags",
                    new.get(declared, 0) >= pages - noise,
                    expected=f"{pages} pages {_words(declared)}, but for {noise}",
                    seen=seen,
                    because=because,
                )
        disk.run("verified", "verify")


def _words(look: frozenset[str]) -> str:
    return "+".join(sorted(look)) or "plain"


def _looks(bench: Bench) -> dict[frozenset[str], int]:
    """How many frames that may be zsmalloc's have which of the flags that matter."""
    report = run(bench, "flags", "pageflags")
    looks: dict[frozenset[str], int] = {}
    for word, count in report.values["flags"].items():
        names = {name for name, bit in _BITS.items() if int(word, 16) >> bit & 1}
        if not names.intersection(_FOREIGN):
            look = frozenset(names.intersection(("TAIL", *_OF_OWNER)))
            looks[look] = looks.get(look, 0) + count
    # What a processor keeps of free pages for itself looks plain.
    zones = zoneinfo.read(bench.guest)
    looks[_PLAIN] = looks.get(_PLAIN, 0) - sum(sum(zone.on_lists) for zone in zones)
    return looks
