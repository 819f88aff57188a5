"""The plot from which a person chooses eps."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from curator_assets.report.pictures.axis_ticks import plain, scale
from curator_assets.report.pictures.chart_rendering import (
    BLUE,
    INK,
    VERMILLION,
    Chart,
    new_axes,
    render,
)
from curator_assets.report.pictures.labelled_lines import Line, draw_lines
from curator_assets.storage.calibration import RANDOM_PAIRS, found_fraction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MIN_EPS = 1e-3
"""Nearer copies are drawn here: the axis is logarithmic and has no zero."""


def calibration_chart(cosines: Mapping[str, np.ndarray], *, eps: float, max_eps: float) -> Chart:
    """A row a transform: how far its copies lie from their originals.

    Boxes span the middle half, whiskers 1 % to 99 %, a dot is the farthest copy. To the left of an
    eps line lies what a search at that eps finds.

    Args:
        cosines: transform -> float32 cosines, at least one; random pairs under `RANDOM_PAIRS`.
        eps: what the settings say, marked and counted.
        max_eps: likewise, marked.
    """
    found = {name: found_fraction(values, eps) for name, values in cosines.items()}
    return render(
        "calibration",
        partial(_draw, cosines, found, eps, max_eps),
        title="How far altered copies lie from their originals, by 1 - cosine",
        about=_finding(found, eps),
    )


def _finding(found: Mapping[str, float], eps: float) -> str:
    copies = {name: share for name, share in found.items() if name != RANDOM_PAIRS}
    parts = [f"{_percent(share)} of {name}" for name, share in copies.items()]
    if RANDOM_PAIRS in found:
        parts.append(f"{_percent(found[RANDOM_PAIRS])} of pairs of different images")
    return f"A search at eps {eps:g} finds {', '.join(parts)}."


def _draw(
    cosines: Mapping[str, np.ndarray], found: Mapping[str, float], eps: float, max_eps: float
) -> Figure:
    names, n = list(cosines), len(cosines)
    figure, axes = new_axes(0.2 + 0.24 * n, n_labels=2, left=1.62, right=0.68)
    for row, (name, values) in enumerate(cosines.items()):
        color = VERMILLION if name == RANDOM_PAIRS else BLUE
        _draw_row(axes, row, np.maximum(1 - values, MIN_EPS), color)
    scale(axes.xaxis, MIN_EPS * 0.8, 2, is_log=True)
    ticks = axes.get_xticks()
    labels = [f"≤ {plain(tick)}" if tick == MIN_EPS else plain(tick) for tick in ticks]
    axes.set_xticks(ticks, labels)
    draw_lines(
        axes,
        [
            Line(max(eps, MIN_EPS), f"eps {eps:g}"),
            Line(max(max_eps, MIN_EPS), f"max_eps {max_eps:g}", INK, (0, (1, 2))),
        ],
    )
    axes.set_yticks(range(n), names)
    axes.set_ylim(n - 0.4, -0.6)
    if RANDOM_PAIRS in names:
        row = names.index(RANDOM_PAIRS)
        axes.axhline(row - 0.5, color=INK, linewidth=0.6, alpha=0.5)
    axes.grid(axis="x")
    axes.set_xlabel("1 - cosine: what lies left of eps is found")
    axes.tick_params(axis="y", length=0)
    beside = axes.get_yaxis_transform()
    for row, share in enumerate(found.values()):
        axes.text(1.27, row, _percent(share), transform=beside, ha="right", va="center")
    axes.text(1.27, -0.7, "found", transform=beside, ha="right", va="bottom")
    return figure


def _draw_row(axes: Axes, row: int, distances: np.ndarray, color: str) -> None:
    """One box with whiskers and the farthest of its pairs."""
    low, q1, median, q3, high = np.quantile(distances, [0.01, 0.25, 0.5, 0.75, 0.99])
    stats = {"whislo": low, "q1": q1, "med": median, "q3": q3, "whishi": high}
    axes.bxp(
        [stats | {"fliers": [distances.max()]}],
        positions=[row],
        widths=0.6,
        orientation="horizontal",
        manage_ticks=False,
        patch_artist=True,
        boxprops={"facecolor": f"{color}59", "edgecolor": color},
        medianprops={"color": color, "linewidth": 2.5},
        whiskerprops={"color": color},
        capprops={"color": color},
        flierprops={"marker": ".", "markerfacecolor": color, "markeredgecolor": color},
    )


def _percent(share: float) -> str:
    return "< 0.1 %" if 0 < share < 0.001 else f"{100 * share:.3g} %"
