"""Small charts as inline SVG: they take the page's colours and need nothing to be loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 16, 40
LABELS = {"above": (0, -12, "middle"), "below": (0, 22, "middle"), "right": (11, 4, "start")}
"""Place of a label: pixels to the right and down of its mark, and its anchor."""
SMOOTHING = 0.85
"""Weight of the past in the bold line of a noisy curve."""


@dataclass(frozen=True)
class Point:
    """One mark of a scatter plot; `tone` is a colour class of the page."""

    x: float
    y: float
    label: str
    tone: str
    place: Literal["above", "below", "right"] = "above"
    """Where the label stands."""


@dataclass(frozen=True)
class Scale:
    """Data to pixels along one axis, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / ((high - low) or 1.0) * (self.end - self.start)


def smoothed(values: Sequence[float]) -> list[float]:
    """Exponential moving average without the start's bias towards zero."""
    mean, weight, result = 0.0, 0.0, []
    for value in values:
        mean = SMOOTHING * mean + (1 - SMOOTHING) * value
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        result.append(mean / weight)
    return result


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers within [low, high]."""
    span = (high - low) or 1.0
    raw = span / count
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 10) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def line_chart(values: Sequence[float], *, title: str, x_label: str, tone: str) -> str:
    """A noisy curve over updates 1, 2, …: faint as measured, bold as smoothed."""
    low, high = min([0.0, *values]), max([*values, 1e-9])
    x = Scale(1, max(len(values), 2), LEFT, WIDTH - RIGHT)
    y = Scale(low, low + (high - low) * 1.08, HEIGHT - BOTTOM, TOP)
    paths = [
        f'<polyline class="line {tone}{kind}" points="{_points(series, x, y)}"/>'
        for kind, series in ((" faint", values), ("", smoothed(values)))
    ]
    last = smoothed(values)[-1]
    end = f'<circle class="mark {tone}" cx="{x(len(values)):.1f}" cy="{y(last):.1f}" r="4"/>'
    axes = _axes(x, y, ticks(1, max(len(values), 2)), ticks(y.low, y.high, 4), x_label)
    return _svg(f"{title}, ending near {last:.3g}", [axes, *paths, end])


def scatter(points: Sequence[Point], *, title: str, x_label: str, y_label: str, joined: str) -> str:
    """Marks over a logarithmic x axis; those of tone `joined` are joined by a line."""
    xs = [point.x for point in points]
    low = max(0.0, math.floor(min(point.y for point in points) * 10 - 0.5) / 10)
    x = Scale(min(xs) / 1.4, max(xs) * 1.5, LEFT, WIDTH - RIGHT, log=True)
    y = Scale(low, 1.03, HEIGHT - BOTTOM, TOP)
    chain = sorted((point.x, point.y) for point in points if point.tone == joined)
    line = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in chain)
    shapes = [f'<polyline class="line {joined} faint" points="{line}"/>'] if len(chain) > 1 else []
    for point in points:
        across, up = x(point.x), y(point.y)
        shapes.append(f'<circle class="mark {point.tone}" cx="{across:.1f}" cy="{up:.1f}" r="6"/>')
        right, down, anchor = LABELS[point.place]
        place = f'text-anchor="{anchor}" x="{across + right:.1f}" y="{up + down:.1f}"'
        shapes.append(f'<text class="name" {place}>{escape(point.label)}</text>')
    work = [tick for tick in (1, 2, 3, 5, 10, 20, 50, 100, 200, 500) if x.low <= tick <= x.high]
    axes = _axes(x, y, work, ticks(low, 1.0, 5), x_label, percent=True, y_label=y_label)
    return _svg(title, [axes, *shapes])


def _points(values: Sequence[float], x: Scale, y: Scale) -> str:
    return " ".join(f"{x(index):.1f},{y(value):.1f}" for index, value in enumerate(values, start=1))


def _axes(
    x: Scale,
    y: Scale,
    xs: Sequence[float],
    ys: Sequence[float],
    x_label: str,
    *,
    percent: bool = False,
    y_label: str = "",
) -> str:
    parts = []
    for tick in ys:
        text = f"{tick:.0%}" if percent else f"{tick:g}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text class="tick" text-anchor="end" x="{LEFT - 8}" y="{y(tick) + 4:.1f}">{text}</text>')
    for tick in xs:
        parts.append(
            f'<text class="tick" text-anchor="middle" x="{x(tick):.1f}" y="{HEIGHT - BOTTOM + 18}">{tick:g}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="axis" text-anchor="middle" x="{middle:.0f}" y="{HEIGHT - 4}">{escape(x_label)}</text>')
    if y_label:
        across = (TOP + HEIGHT - BOTTOM) / 2
        parts.append(
            f'<text class="axis" text-anchor="middle" transform="translate(12 {across:.0f}) rotate(-90)">'
            f"{escape(y_label)}</text>"
        )
    return "".join(parts)


def _svg(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
