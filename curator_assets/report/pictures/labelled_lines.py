"""Values that are marked in a chart, each with its name above it instead of in a legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from curator_assets.report.pictures.chart_rendering import GREEN, INK, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW, _ABOVE, _BETWEEN = 14.4, 4.0, 8.0  # points
_BEYOND = 16  # points that a label may stick out of the axes at the right
_EDGE = 3  # points that it keeps off the figure's left edge


class Line(NamedTuple):
    """A value of the x-axis, what is said of it, and its looks: not told by colour alone."""

    value: float
    label: str
    color: str = INK
    dashes: str | tuple[float, tuple[float, ...]] = (0, (5, 2))


RECOMMENDED = (GREEN, (0, (1, 1)))
"""Colour and dashes of what is recommended."""


def draw_lines(axes: Axes, lines: Sequence[Line]) -> None:
    """Draw upright lines, their labels above in rows, so that none touch.

    What lies beyond the axis, whose scale is set, has an arrow that points there, and no line.
    """
    points = 72 / axes.figure.dpi
    length, rise, left = (n * points for n in (axes.bbox.width, axes.bbox.height, axes.bbox.x0))
    low, high = axes.get_xlim()
    rows: list[list[tuple[float, float]]] = [[] for _ in lines]
    for line in lines:
        label = line.label
        if line.value < low:
            label = f"← {label}"
        elif line.value > high:
            label = f"{label} →"
        else:
            axes.axvline(line.value, color=line.color, lw=1.8, linestyle=line.dashes, clip_on=False)
        half = text_width(label) / 2
        inside = min(max(line.value, low), high)
        place = (axes.transData.transform((inside, 0))[0] - axes.bbox.x0) * points
        place = max(min(place, length + _BEYOND - half), half - left + _EDGE)
        reach = half + _BETWEEN
        row = next(
            i
            for i, taken in enumerate(rows)
            if all(place + reach < start or stop < place - reach for start, stop in taken)
        )
        rows[row].append((place - half, place + half))
        axes.text(
            place / length,
            1 + (_ABOVE + row * _ROW) / rise,
            label,
            transform=axes.transAxes,
            ha="center",
            va="bottom",
        )
