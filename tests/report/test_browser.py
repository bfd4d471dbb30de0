# SPDX-License-Identifier: GPL-2.0-only
"""The HTML report in a real browser: its script runs, and it asks for nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.report.runs import BAD, FILL, GOOD, PATCHED, leave_evidence, make, record
from toolkit.report import html, view

CHROMIUM = shutil.which("chromium")

# What a reader does, done by a script; what comes of it is left in the document.
READER = """
<script>
document.querySelectorAll("details").forEach((details) => { details.open = true; });
document.querySelectorAll(".plot svg").forEach((svg) => {
  const box = svg.getBoundingClientRect();
  svg.dispatchEvent(new PointerEvent("pointermove", { clientX: box.right - 1, clientY: box.top + 5 }));
});
document.querySelectorAll(".numbers button").forEach((button) => button.click());
document.body.dataset.requests = performance.getEntriesByType("resource").length;
document.body.dataset.wide = document.documentElement.scrollWidth > window.innerWidth;
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_report_answers_its_reader_without_a_request_or_an_error(tmp_path: Path) -> None:
    run, outcome = make(tmp_path, [record(FILL, GOOD), record(PATCHED, BAD)])
    for cell in (FILL, PATCHED):
        leave_evidence(run.evidence(cell))
    gathered = view.gather(run, outcome)
    page = html.page(gathered)
    run.html_file.write_text(page.replace("</body>", READER + "</body>"), encoding="utf-8")
    done = subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=900,1200",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--enable-logging=stderr",
            "--dump-dom",
            run.html_file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    document = done.stdout
    assert 'data-requests="0"' in document
    assert 'data-wide="false"' in document
    outputs = re.findall(r"<output>([^<]*)</output>", document)
    figures = [figure for cell in gathered.cells for figure in cell.figures]
    assert len(outputs) == 2 * len(figures) == 20
    last = figures[1].plot
    assert last.title == "zspages"
    expected = f"{last.time_s[-1]:.2f} s: nr_zspages {last.lines['nr_zspages'][-1]} (after compacted)"
    assert expected in outputs
    assert document.count("<th>nr_zspages</th>") == 2
    assert document.count("<tbody><tr><td>0.00</td>") == 2
