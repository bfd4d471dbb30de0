# SPDX-License-Identifier: GPL-2.0-only
"""Curves are drawn where their numbers are, on axes that can be read."""

from __future__ import annotations

import pytest

from toolkit.report import plot
from toolkit.report.plot import HEIGHT, LEFT, RIGHT, TOP, WIDTH, Plot

RISE = Plot("a", "pages", (0.0, 5.0, 10.0), {"n": (0.0, 50.0, 100.0)}, {"filled": 5.0, "later": 11.0})


def test_a_curve_begins_at_the_axes_and_ends_in_the_corner() -> None:
    (figure,) = plot.draw([RISE])
    first, *_, last = figure.paths["n"].replace("M", "").split(" L")
    assert tuple(map(float, first.split())) == (LEFT, HEIGHT - plot.BOTTOM)
    assert tuple(map(float, last.split())) == (WIDTH - RIGHT, TOP)
    assert [tick.label for tick in figure.y_ticks] == ["0", "50", "100"]
    assert [(tick.label, tick.at) for tick in figure.marks] == [("filled", (LEFT + WIDTH - RIGHT) / 2)]


def test_plots_that_are_compared_have_the_same_axes() -> None:
    small = Plot("a", "pages", (0.0, 2.0), {"n": (0.0, 10.0)}, {})
    alone = plot.draw([small])[0]
    beside = plot.draw([RISE, small])[1]
    assert beside.y_ticks == plot.draw([RISE])[0].y_ticks
    assert beside.paths != alone.paths


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 100, [0, 50, 100]),
        (0, 1, [0, 0.5, 1]),
        (-3, 7, [-5, 0, 5, 10]),
        (0, 0, [0, 0.5]),
        (0, 1234567, [0, 500000, 1000000, 1500000]),
    ],
)
def test_axes_have_round_steps_that_cover_the_values(low: float, high: float, expected: list[float]) -> None:
    assert plot.steps(low, high) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.5, "0.5"), (1500, "1.5k"), (2e6, "2M"), (-3e9, "-3G")]
)
def test_labels_are_short(value: float, text: str) -> None:
    assert plot.label(value) == text


def test_thinning_keeps_the_first_and_the_last() -> None:
    assert plot.thinned(3, 10) == [0, 1, 2]
    kept = plot.thinned(100_000, 400)
    assert len(kept) == len(set(kept)) == 400
    assert (kept[0], kept[-1]) == (0, 99_999)


def test_no_sample_is_an_empty_drawing() -> None:
    (figure,) = plot.draw([Plot("a", "pages", (), {"n": ()}, {})])
    assert figure.paths == {"n": ""}
    assert plot.draw([]) == ()
