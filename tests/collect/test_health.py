# SPDX-License-Identifier: GPL-2.0-only
"""A complaint counts unless it is known, and what is known does not stay so for ever."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from toolkit.collect import health
from toolkit.collect.health import Allowed, examine
from toolkit.errors import DeclarationError

CONSOLES = Path(__file__).parents[1] / "data" / "console"
TODAY = datetime.date(2026, 11, 23)
REFCOUNT = Allowed("refcount_t: underflow*", "known since the last merge", datetime.date(2027, 1, 1), "6.1")


def recorded(name: str) -> str:
    return (CONSOLES / f"{name}.txt").read_text(encoding="utf-8")


def test_a_calm_console_is_healthy() -> None:
    found = examine("[    0.000000] Linux version 6.1\n", (), release="6.1.192", today=TODAY)
    assert (found.unexpected, found.slow, found.allowed) == ((), (), ())


def test_a_splat_is_unexpected_and_a_lockup_is_the_slow_hosts() -> None:
    found = examine(recorded("slow-and-hung"), (), release="6.1.192", today=TODAY)
    assert len(found.slow) == 2
    assert [report.title[:10] for report in found.hung] == ["INFO: task"]
    assert found.fatal == ()
    assert len(examine(recorded("kasan-uaf"), (), release="6.1.192", today=TODAY).unexpected) == 1


def test_a_known_splat_is_excused_with_its_reason() -> None:
    found = examine(recorded("refcount-warn"), [REFCOUNT], release="6.1.192", today=TODAY)
    assert found.unexpected == ()
    ((report, entry),) = found.allowed
    assert report.title == "refcount_t: underflow; use-after-free."
    assert entry.reason == "known since the last merge"


@pytest.mark.parametrize(
    ("release", "today"),
    [("6.1.192", datetime.date(2027, 1, 1)), ("6.12.117", TODAY), ("6.19.1", TODAY)],
    ids=["expired", "another kernel", "a kernel that only looks alike"],
)
def test_an_entry_excuses_only_its_kernel_and_only_until_its_day(release: str, today: datetime.date) -> None:
    found = examine(recorded("refcount-warn"), [REFCOUNT], release=release, today=today)
    assert len(found.unexpected) == 1
    assert found.allowed == ()


def test_what_ended_the_guest_is_never_excused() -> None:
    everything = Allowed("*", "no reason is good enough", datetime.date(2030, 1, 1))
    found = examine(recorded("oops-x86_64"), [everything], release="6.1.192", today=TODAY)
    assert len(found.fatal) == 2


def test_only_what_the_unpatched_kernel_did_not_say_is_new() -> None:
    base = examine(recorded("refcount-warn"), (), release="6.1.192", today=TODAY)
    both = recorded("refcount-warn") + recorded("warn-location")
    series = examine(both, (), release="6.1.192", today=TODAY)
    assert [report.frames[0] for report in series.new(base.fingerprints)] == ["__free_zspage"]


def test_the_projects_own_list_loads_and_nothing_on_it_has_expired_unseen() -> None:
    entries = health.load_allowed()
    assert health.expired(entries, TODAY) == ()


def test_an_entry_without_reason_or_day_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "allowed-splats.toml"
    path.write_text('[[splat]]\nfingerprint = "x"\nreason = " "\nexpires = 2027-01-01\n')
    with pytest.raises(DeclarationError, match="needs a reason"):
        health.load_allowed(path)
    path.write_text('[[splat]]\nfingerprint = "x"\nreason = "y"\n')
    with pytest.raises(DeclarationError, match="'expires' is missing"):
        health.load_allowed(path)
    path.write_text('[[splat]]\nfingerprint = "x"\nreason = "y"\nexpires = 2026-11-23\n')
    assert len(health.expired(health.load_allowed(path), TODAY)) == 1
