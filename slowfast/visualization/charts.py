"""Small drawings as SVG text, for pages that must work without a network or a script.

Colours come from the page's style sheet (classes ``line-0`` …, ``axis``, ``bar``), so that one drawing suits
light and dark pages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

_WIDTH, _HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 40
NUM_COLOURS = 4


@dataclass(frozen=True)
class Line:
    """One curve of a chart.

    Attributes:
        name: shown in the legend.
        points: (x, y) in the order of x.
        colour: index of the colour, 0 … ``NUM_COLOURS`` − 1.
        dashed: second member of a pair, such as training beside validation.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    dashed: bool = False


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers inside [low, high], ``about`` as many as asked for.

    >>> ticks(0, 100)
    [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    """
    if not high > low:
        return [low]
    raw = (high - low) / about
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = magnitude * next(factor for factor in (1, 2, 5, 10) if factor * magnitude >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
) -> str:
    """Draws curves over a common x axis that begins at 0.

    Args:
        y_range: None: from 0 to the largest value.
    """
    points = [point for line in lines for point in line.points]
    x_high = max((x for x, _ in points), default=1.0) or 1.0
    low, high = y_range or (0.0, max((y for _, y in points), default=1.0) or 1.0)

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + x / x_high * (_WIDTH - _LEFT - _RIGHT)
        up = (min(max(y, low), high) - low) / (high - low)
        return round(across, 1), round(_HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM), 1)

    parts = []
    for value in ticks(low, high):
        _, y = place(0, value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{value:g}</text>')
    for value in ticks(0, x_high):
        x, _ = place(value, low)
        parts.append(f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{value:g}</text>')
    left, bottom = place(0, low)
    parts.append(f'<line class="axis" x1="{left}" x2="{_WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">{escape(x_label)}</text>')
    for line in lines:
        path = " ".join(f"{x},{y}" for x, y in (place(*point) for point in line.points))
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        parts.append(f'<polyline class="line line-{line.colour % NUM_COLOURS}" points="{path}"{dash}/>')
        if not line.dashed:
            parts += [
                f'<circle class="dot-{line.colour % NUM_COLOURS}" cx="{x}" cy="{y}" r="2.6"/>'
                for x, y in (place(*point) for point in line.points)
            ]
    described = "; ".join(
        f"{line.name}: {line.points[0][1]:.3g} to {line.points[-1][1]:.3g}" for line in lines if line.points
    )
    return _svg(_WIDTH, _HEIGHT, f"{title}, {y_label}", described, "".join(parts))


def bar_strip(values: Sequence[float], *, title: str, height: int = 52) -> str:
    """Draws one bar a value, evenly spread, so that it fits under a strip of as many pictures.

    Bars are scaled to the largest value; the value in percent stands above each.
    """
    slot, largest = 60, max([*values, 1e-12])
    parts = []
    for i, value in enumerate(values):
        tall = round(value / largest * (height - 18), 1)
        top = round(height - tall, 1)
        parts.append(
            f'<rect class="bar" x="{i * slot + 6}" y="{top}" width="{slot - 12}" height="{tall}" rx="3"/>'
            f'<text x="{i * slot + slot // 2}" y="{top - 4}" text-anchor="middle">{100 * value:.0f} %</text>'
        )
    described = ", ".join(f"{100 * value:.0f} %" for value in values)
    return _svg(slot * len(values), height, title, described, "".join(parts))


def _svg(width: int, height: int, title: str, described: str, body: str) -> str:
    label = quoteattr(f"{title}. {described}")
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label={label}>{body}</svg>'
