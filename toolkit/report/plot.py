# SPDX-License-Identifier: GPL-2.0-only
"""Curves over time as SVG paths: numbers in, coordinates out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# In units of the drawing: the whole figure, and the room for the axes' labels in it.
WIDTH, HEIGHT = 460, 170
LEFT, RIGHT, TOP, BOTTOM = 56, 8, 8, 22

# So many points a curve are drawn; more cannot be told apart at this width.
POINTS = 400


@dataclass(frozen=True)
class Plot:
    """Curves with one time axis: `time_s` (n) and each of `lines` (n); `marks` are moments by name."""

    title: str
    unit: str
    time_s: tuple[float, ...]
    lines: Mapping[str, tuple[float, ...]]
    marks: Mapping[str, float]

    @property
    def largest(self) -> float:
        return max((max(values, default=0.0) for values in self.lines.values()), default=0.0)

    @property
    def smallest(self) -> float:
        return min((min(values, default=0.0) for values in self.lines.values()), default=0.0)


@dataclass(frozen=True)
class Tick:
    """A label on an axis, at this coordinate."""

    at: float
    label: str


@dataclass(frozen=True)
class Figure:
    """A plot laid out: `paths` are the lines' SVG path data by name."""

    plot: Plot
    paths: Mapping[str, str]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[Tick, ...]


def thinned(count: int, most: int = POINTS) -> list[int]:
    """Indices of at most `most` of `count` points, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def draw(plots: Sequence[Plot]) -> tuple[Figure, ...]:
    """Figures of plots that are to be compared: all have the same axes."""
    low = min((min(plot.smallest, 0.0) for plot in plots), default=0.0)
    high = max((plot.largest for plot in plots), default=0.0)
    until = max((plot.time_s[-1] for plot in plots if plot.time_s), default=0.0)
    y_steps = steps(low, high)
    x_steps = steps(0.0, until)
    return tuple(
        _figure(plot, (0.0, max(until, 1e-9)), (y_steps[0], y_steps[-1]), x_steps, y_steps) for plot in plots
    )


def steps(low: float, high: float, about: int = 4) -> list[float]:
    """Round values from at most `low` to at least `high`, about so many steps apart."""
    span = high - low or 1.0
    rough = span / about
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(magnitude * factor for factor in (1, 2, 5, 10) if magnitude * factor >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(round(high / step, 9))
    return [step * n for n in range(first, max(last, first + 1) + 1)]


def label(value: float) -> str:
    """A number as short as an axis wants it: 1500000 is "1.5M"."""
    for factor, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:g}{suffix}"
    return f"{value:g}"


def _figure(
    plot: Plot,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    x_steps: Sequence[float],
    y_steps: Sequence[float],
) -> Figure:
    def x(time_s: float) -> float:
        share = (time_s - x_range[0]) / (x_range[1] - x_range[0])
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        share = (value - y_range[0]) / (y_range[1] - y_range[0])
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    paths = {
        name: " ".join(
            f"{'L' if n else 'M'}{x(t):g} {y(v):g}"
            for n, (t, v) in enumerate(zip(plot.time_s, values, strict=True))
        )
        for name, values in plot.lines.items()
    }
    return Figure(
        plot,
        paths,
        tuple(Tick(x(step), label(step)) for step in x_steps if step <= x_range[1]),
        tuple(Tick(y(step), label(step)) for step in y_steps),
        tuple(Tick(x(at), name) for name, at in plot.marks.items() if 0 <= at <= x_range[1]),
    )
