# SPDX-License-Identifier: GPL-2.0-only
"""The HTML report holds everything it shows, and shows failures first."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.report.runs import BAD, CHURN, FILL, GOOD, PATCHED, SPLAT, leave_evidence, make, record
from toolkit.errors import StoreError
from toolkit.record import Outcome, Run
from toolkit.report import html, view
from toolkit.verdict import Check, Status

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """The page's elements, with a check that each is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.ids: set[str] = set()
        self.count: dict[str, int] = {}
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.count[tag] = self.count.get(tag, 0) + 1
        for name, value in attrs:
            if name in ("href", "src", "srcset", "data", "action"):
                self.references.append(value or "")
            if name == "id":
                self.ids.add(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def less(line: str, word: int) -> str:
    words = line.split()
    words[word] = str(int(words[word]) - 1)
    return " ".join(words)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Outcome]:
    """A good cell, one whose class table is not as predicted, and one that crashed and left nothing."""
    across = [Check("baseline/fill", Status.FAIL, "class tables at compacted differ")]
    records = [record(FILL, GOOD), record(PATCHED, GOOD, BAD), record(CHURN, SPLAT, detail="oops </script>")]
    run, outcome = make(tmp_path_factory.mktemp("run"), records, across=across)
    for cell in (FILL, PATCHED):
        leave_evidence(run.evidence(cell))
    path = next(run.evidence(PATCHED).directory.glob("checkpoints/*/sys/kernel/debug/zsmalloc/*/classes"))
    text = path.read_text()
    # Of one class an object less is used than predicted: in its row, and in the totals.
    row = next(line for line in text.splitlines() if line.split()[1:2] == ["2720"])
    total = text.splitlines()[-1]
    path.write_text(text.replace(row, less(row, 5)).replace(total, less(total, 4)))
    return run, outcome


@pytest.fixture(scope="module")
def page(made: tuple[Run, Outcome]) -> str:
    run, outcome = made
    html.write(run, outcome)
    return run.html_file.read_text(encoding="utf-8")


def test_the_page_is_whole_and_refers_to_nothing_outside_itself(page: str) -> None:
    parsed = Page(page)
    assert parsed.references
    assert {reference.removeprefix("#") for reference in parsed.references} <= parsed.ids
    assert not re.search(r"https?://|@import|url\(", page)
    assert "default-src 'none'" in page


def test_failures_come_first_and_the_worst_of_them_first(page: str) -> None:
    shown = page[page.index("<h1>") :]
    places = [shown.index(text) for text in ("What failed", "Across cells", "churn seed 7", "pageless-owner")]
    assert places == sorted(places)
    assert shown.index("What failed") < shown.index('id="cells"')
    assert "<figure><figcaption>expected</figcaption><pre>0</pre></figure>" in page
    assert PATCHED.command in page


def test_what_the_kernel_printed_stays_text(page: str) -> None:
    assert "<script>alert(1)</script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count("</script>") == 2


def test_a_value_that_was_not_predicted_stands_beside_what_was(made: tuple[Run, Outcome], page: str) -> None:
    good, bad, crashed = view.gather(*made).cells
    (table,) = bad.tables
    (row,) = (row for row in table.rows if row.wrong)
    (wrong,) = (value for value in row.values if value.wrong)
    assert (row.size, wrong.seen, wrong.expected, table.wrong) == (2720, 39, "40", 1)
    assert page.count('<td class="wrong"><del title="expected">40</del> <ins title="seen">39</ins></td>') == 1
    assert good.tables[0].wrong == 0
    assert (len(good.tables[0].rows), good.tables[0].omitted) == (4, 65)
    assert "facts.json" in crashed.missing


def test_cells_that_differ_in_their_series_stand_side_by_side_on_the_same_axes(
    made: tuple[Run, Outcome],
) -> None:
    (comparison,) = view.gather(*made).comparisons
    assert [cell.record.cell.series for cell in comparison.cells] == ["none", "pageless-owner"]
    assert ("writes", (480, 480)) in comparison.counters
    titles = [row[0].plot.title for row in comparison.figures]
    assert titles == ["zram", "zspages", "free memory", "migration", "compaction"]
    for one, other in comparison.figures:
        assert one.y_ticks == other.y_ticks
        assert [tick.label for tick in one.marks] == ["compacted"]


def test_the_data_are_in_the_page_as_json_too(page: str) -> None:
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert block
    data = json.loads(block[1])
    assert data["run"]["id"] == "20261123-050000-abcd"
    good, bad, crashed = data["cells"]
    assert crashed["record"]["detail"] == "oops </script>"
    assert bad["record"]["verdict"]["checks"][1]["expected"] == "0"
    zspages = good["plots"]["zspages"]
    assert len(zspages["time_s"]) == len(zspages["lines"]["nr_zspages"]) > 50
    assert max(zspages["lines"]["nr_zspages"]) > 200
    column = bad["tables"][0]["columns"].index("obj_used")
    assert bad["tables"][0]["seen"]["2720"][column] == 39
    assert bad["tables"][0]["expected"]["2720"][column] == [40, 40]


def test_a_cell_without_a_trace_shows_what_was_seen_and_says_that_nothing_was_predicted(
    tmp_path: Path,
) -> None:
    run, outcome = make(tmp_path, [record(FILL, GOOD)])
    leave_evidence(run.evidence(FILL))
    shutil.rmtree(run.evidence(FILL).trace)
    (cell,) = view.gather(run, outcome).cells
    assert cell.missing.startswith("no prediction: ")
    assert [value.expected for value in cell.tables[0].rows[0].values] == ["nothing"] * 6
    Page(html.page(view.gather(run, outcome)))


def test_a_run_that_passed_has_no_list_of_failures(tmp_path: Path) -> None:
    run, outcome = make(tmp_path, [record(FILL, GOOD)])
    text = html.page(view.gather(run, outcome))
    Page(text)
    assert "What failed" not in text
    assert "1 pass; begun 2026-11-23T05:00:00+00:00" in text


def test_a_report_that_cannot_be_written_is_the_hosts_trouble(tmp_path: Path) -> None:
    run, outcome = make(tmp_path, [record(FILL, GOOD)])
    run.html_file.mkdir()
    with pytest.raises(StoreError, match=r"report\.html: Is a directory"):
        html.write(run, outcome)
