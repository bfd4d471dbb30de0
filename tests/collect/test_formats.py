# SPDX-License-Identifier: GPL-2.0-only
"""tracefs' descriptions are read as they stand, and another layout is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.collect import formats
from toolkit.collect.snapshot import Snapshot

FILES = Snapshot.load(next((Path(__file__).parents[1] / "data" / "trace").iterdir()) / "files")
EVENTS = "/sys/kernel/tracing/events"


def test_a_probes_format_names_its_arguments() -> None:
    event = formats.parse_event(FILES[f"{EVENTS}/pageless/zs_malloc/format"])
    assert event.name == "zs_malloc"
    assert [field for field in event.fields if not field.startswith(("common_", "__probe"))] == [
        "pool",
        "size",
    ]
    pool = event.fields["pool"]
    assert (pool.type, pool.size, pool.signed, pool.array, pool.dynamic) == ("u64", 8, False, False, False)
    assert event.fields["common_pid"].signed


def test_a_string_is_dynamic_and_a_marks_text_reaches_to_the_end() -> None:
    name = formats.parse_event(FILES[f"{EVENTS}/pageless/zs_create_pool/format"]).fields["name"]
    assert (name.dynamic, name.array, name.size) == (True, False, 4)
    text = formats.parse_event(FILES[f"{EVENTS}/ftrace/print/format"]).fields["buf"]
    assert (text.dynamic, text.array, text.size, text.offset) == (False, True, 0, 16)


def test_the_page_is_as_large_as_its_header_says() -> None:
    text = FILES[f"{EVENTS}/header_page"]
    assert formats.parse_page(text) == formats.PageFormat(timestamp=0, commit=8, data=16, size=4096)
    assert formats.parse_page(text.replace("size:4080", "size:65520")).size == 65536


def test_an_unknown_layout_is_refused() -> None:
    formats.check_header(FILES[f"{EVENTS}/header_event"])
    with pytest.raises(ValueError, match="another event header"):
        formats.check_header(FILES[f"{EVENTS}/header_event"].replace("type == 29", "type == 28"))
    with pytest.raises(ValueError, match="header_page has no field 'commit'"):
        formats.parse_page("\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n")
    with pytest.raises(ValueError, match="only 64-bit kernels"):
        formats.parse_page(FILES[f"{EVENTS}/header_page"].replace("offset:8;\tsize:8", "offset:8;\tsize:4"))
    with pytest.raises(ValueError, match="begins with its name and ID"):
        formats.parse_event("nothing")
