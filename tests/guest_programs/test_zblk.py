# SPDX-License-Identifier: GPL-2.0-only
"""zblk against a file: it must notice every kind of wrong content, and only that."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.guest_programs import Ran

PAGE = os.sysconf("SC_PAGESIZE")
SLOTS = 256

Program = Callable[..., Ran]


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(b"")
    os.truncate(path, SLOTS * PAGE)
    return path


@pytest.fixture
def zblk(program: Program, device: Path) -> Program:
    def run(*arguments: str) -> Ran:
        return program("zblk", *arguments, f"--device={device}", "--state=state")

    assert run("create", f"--slots={SLOTS}", "--seed=7").status == 0
    return run


def pages(device: Path) -> list[bytes]:
    content = device.read_bytes()
    return [content[at : at + PAGE] for at in range(0, len(content), PAGE)]


def overwrite(device: Path, at: int, data: bytes) -> None:
    with device.open("r+b") as file:
        file.seek(at)
        file.write(data)


def same_filled(page: bytes) -> bool:
    return page == page[:8] * (PAGE // 8)


def test_what_was_written_verifies(zblk: Program) -> None:
    written = zblk("write", "--mix=mixed").report
    assert (written["writes"], written["bytes_written"], written["stored"]) == (SLOTS, SLOTS * PAGE, SLOTS)
    verified = zblk("verify")
    assert verified.status == 0
    assert (verified.report["bytes_verified"], verified.report["mismatches"]) == (SLOTS * PAGE, 0)


def test_the_same_seed_writes_the_same_content(zblk: Program, device: Path) -> None:
    zblk("write", "--mix=mixed")
    first = device.read_bytes()
    zblk("write", "--mix=mixed")
    assert device.read_bytes() != first
    zblk("create", f"--slots={SLOTS}", "--seed=7")
    zblk("write", "--mix=mixed")
    assert device.read_bytes() == first
    zblk("create", f"--slots={SLOTS}", "--seed=8")
    zblk("write", "--mix=mixed")
    assert device.read_bytes() != first


@pytest.mark.parametrize("at", [0, 5 * PAGE + 123, SLOTS * PAGE - 1])
def test_one_wrong_byte_anywhere_is_found_and_located(zblk: Program, device: Path, at: int) -> None:
    zblk("write", "--mix=spread")
    wrong = device.read_bytes()[at] ^ 0x40
    overwrite(device, at, bytes([wrong]))
    ran = zblk("verify")
    first = ran.report["first_mismatch"]
    assert (ran.status, ran.report["mismatches"]) == (1, 1)
    assert (first["slot"], first["offset"], first["seen"][:2]) == (at // PAGE, at % PAGE, f"{wrong:02x}")
    assert first["expected"] != first["seen"]
    assert first["looks_like"] == "no recent version of this slot"


def test_a_write_that_was_lost_is_recognised(zblk: Program, device: Path) -> None:
    zblk("write", "--mix=spread")
    old = pages(device)[9]
    zblk("write", "--mix=random")
    overwrite(device, 9 * PAGE, old)
    first = zblk("verify").report["first_mismatch"]
    assert (first["slot"], first["version"], first["looks_like"]) == (9, 2, "version 1 of this slot")


def test_a_page_of_another_slot_is_a_mismatch(zblk: Program, device: Path) -> None:
    zblk("write", "--mix=same")
    different = [page for page in pages(device) if any(page)]
    slot = pages(device).index(different[0])
    overwrite(device, slot * PAGE, different[1])
    assert zblk("verify").report["mismatches"] == 1


def test_a_page_that_was_emptied_by_mistake_looks_like_zeros(zblk: Program, device: Path) -> None:
    zblk("write", "--mix=random")
    overwrite(device, 0, bytes(PAGE))
    assert zblk("verify").report["first_mismatch"]["looks_like"] == "zeros"


def test_discarded_slots_must_read_as_zeros(zblk: Program, device: Path) -> None:
    zblk("write", "--mix=spread")
    ran = zblk("discard", "--from=1", "--step=2")
    assert (ran.report["discards"], ran.report["stored"]) == (SLOTS // 2, SLOTS // 2)
    assert [any(page) for page in pages(device)] == [True, False] * (SLOTS // 2)
    assert zblk("verify").status == 0
    overwrite(device, 3 * PAGE + 17, b"x")
    assert zblk("verify").status == 1


def test_a_discard_of_parts_of_slots_leaves_these_as_they_are(zblk: Program, device: Path) -> None:
    zblk("write", "--mix=random")
    before = pages(device)
    ran = zblk("discard", "--batch=5", "--edge=512", "--to=10")
    assert ran.report["discards"] == 6
    after = pages(device)
    for kept in (0, 4, 5, 9):
        # A file is emptied to the byte, a device keeps what it cannot free.
        assert 0 < sum(one == other for one, other in zip(before[kept], after[kept], strict=True)) < PAGE
        overwrite(device, kept * PAGE, before[kept])
    assert not any(map(any, after[1:4] + after[6:9]))
    assert zblk("verify").status == 0


def test_nearly_the_same_is_one_word_that_differs_at_an_end_or_anywhere(zblk: Program, device: Path) -> None:
    zblk("write", "--mix=nearly")
    odd = []
    for page in pages(device):
        words = [page[at : at + 8] for at in range(0, PAGE, 8)]
        (alone,) = (word for word in set(words) if words.count(word) == 1)
        odd.append(words.index(alone))
    assert {0, 1, PAGE // 8 - 2, PAGE // 8 - 1} < set(odd)
    assert zblk("verify").status == 0


def test_the_census_counts_what_is_really_there(zblk: Program, device: Path) -> None:
    zblk("write", "--mix=churn")
    report = zblk("write", "--mix=mixed", "--step=3", "--from=2").report
    found = pages(device)
    zero = sum(not any(page) for page in found)
    same = sum(same_filled(page) for page in found)
    sizes = [len(zlib.compress(page, 1)) for page in found if not same_filled(page)]
    # An empty slot and a slot that stores zeros read alike, so only their sum can be seen.
    assert SLOTS - zero <= report["stored"] <= SLOTS
    assert same - zero <= report["same"] <= same
    assert report["huge_certain"] <= sum(size >= PAGE * 7 // 8 for size in sizes) <= report["huge_possible"]
    assert report["compressed_least"] <= sum(min(size, PAGE) for size in sizes) <= report["compressed_most"]


def test_spread_reaches_every_compressed_size_alike(zblk: Program, device: Path) -> None:
    zblk("write", "--mix=spread")
    sizes = [len(zlib.compress(page, 1)) for page in pages(device)]
    in_eighths = [sum(low * PAGE // 8 <= size < (low + 1) * PAGE // 8 for size in sizes) for low in range(8)]
    assert all(SLOTS // 16 < count < SLOTS // 4 for count in in_eighths), in_eighths


def test_batches_and_pieces_write_the_same_as_single_pages(zblk: Program, device: Path) -> None:
    zblk("write", "--mix=churn")
    single = device.read_bytes()
    for manner in (["--batch=16"], ["--io-bytes=512"], ["--misalign=512"], ["--batch=5", "--io-bytes=1024"]):
        zblk("create", f"--slots={SLOTS}", "--seed=7")
        zblk("write", "--mix=churn", *manner)
        assert device.read_bytes() == single, manner
        assert zblk("verify", *manner).status == 0


def test_racing_readers_see_only_versions_that_may_be_there(zblk: Program) -> None:
    ran = zblk("churn", "--mix=churn", "--writers=3", "--readers=2", "--batch=3", "--operations=2000")
    assert ran.status == 0
    assert ran.report["writes"] + ran.report["discards"] == 6000
    assert ran.report["bytes_verified"] > 0
    assert zblk("verify").status == 0


def test_racing_readers_find_what_no_writer_wrote(zblk: Program, device: Path) -> None:
    # One writer owns all slots but never gets to most of them, so the fault stays.
    zblk("write", "--mix=random")
    overwrite(device, 0, b"wrong" * (SLOTS * PAGE // 5))
    ran = zblk("churn", "--mix=random", "--writers=1", "--readers=2", "--operations=200")
    assert ran.status == 1


def test_an_io_error_ends_it_unless_tolerated(zblk: Program, device: Path) -> None:
    zblk("write", "--mix=spread")
    os.truncate(device, (SLOTS - 16) * PAGE)
    ran = zblk("verify")
    assert (ran.status, ran.report) == (3, {})
    assert f"reading slot {SLOTS - 16}: Input/output error" in ran.stderr
    ran = zblk("verify", "--tolerate")
    assert (ran.status, ran.report["errors"]) == (0, 16)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["write"], "write needs --mix"),
        (["write", "--mix=odd"], "no such mix: odd"),
        (["churn", "--mix=churn"], "churn needs --mix, and from 1"),
        (["churn", "--mix=churn", "--writers=1"], "--operations or --seconds"),
        (["verify", "--step=0"], "--step is 1 or more"),
        (["verify", "--batch=257"], "--batch from 1 to 256"),
        (["verify", "--from=-1"], "not a number"),
        (["explode"], "no such command: explode"),
    ],
)
def test_wrong_usage_says_what_is_wrong(zblk: Program, arguments: list[str], complaint: str) -> None:
    ran = zblk(*arguments)
    assert (ran.status, ran.report) == (2, {})
    assert complaint in ran.stderr


def test_a_foreign_state_file_is_refused(zblk: Program, tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(bytes(4096))
    ran = zblk("verify")
    assert ran.status == 2
    assert "not a state file" in ran.stderr
