"""The plot from which a person chooses eps."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from curator_assets.storage.calibration import RANDOM_PAIRS, found_fraction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MIN_EPS = 1e-4
"""Nearer copies are drawn here: the axis is logarithmic and has no zero."""

_TICKS = (1e-4, 0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
_MAX_POINTS = 400
_COPIES, _RANDOM, _EPS = "#2a6f97", "#8d6a3f", "#b3261e"
_WIDTH_INCHES, _DPI = 10, 100


def draw(cosines: Mapping[str, np.ndarray], *, eps: float, max_eps: float) -> bytes:
    """PNG bytes: a row a transform, its copies' distances to their originals as box and dots.

    Boxes span the middle half, whiskers 1 % to 99 %. To the left of an eps line lies what a search
    at that eps finds.

    Args:
        cosines: transform -> float32 cosines; random pairs under `RANDOM_PAIRS`.
        eps: what the settings say, marked and counted.
        max_eps: likewise, marked.
    """
    from matplotlib.figure import Figure

    names = list(cosines)
    figure = Figure(figsize=(_WIDTH_INCHES, 2 + 0.42 * len(names)), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    for row, (name, values) in enumerate(cosines.items()):
        _draw_row(axes, row, 1 - values, _RANDOM if name == RANDOM_PAIRS else _COPIES)
    for value, style, label in ((eps, "-", "eps"), (max_eps, "--", "max_eps")):
        axes.axvline(max(value, MIN_EPS), color=_EPS, linestyle=style, label=f"{label} {value:g}")
    _scale(axes)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    if RANDOM_PAIRS in names:
        axes.axhline(names.index(RANDOM_PAIRS) - 0.5, color="0.6", linewidth=0.8)
    shares = axes.secondary_yaxis("right")
    found = [f"{100 * found_fraction(values, eps):.3g} %" for values in cosines.values()]
    shares.set_yticks(range(len(names)), found)
    shares.tick_params(length=0)
    shares.set_ylabel(f"found at eps {eps:g}")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle("Copies of your images: how far each lies from its original")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    """In a palette of 64 colours: a third of the bytes, since the ledger and Dagster carry it."""
    full, small = BytesIO(), BytesIO()
    figure.savefig(full, format="png")
    Image.open(full).convert("RGB").quantize(64).save(small, "PNG", optimize=True)
    return small.getvalue()


def _draw_row(axes: Axes, row: int, distances: np.ndarray, color: str) -> None:
    """One box with whiskers, and up to `_MAX_POINTS` of its pairs as dots."""
    distances = np.maximum(distances, MIN_EPS)
    low, q1, median, q3, high = np.quantile(distances, [0.01, 0.25, 0.5, 0.75, 0.99])
    stats = {"whislo": low, "q1": q1, "med": median, "q3": q3, "whishi": high, "fliers": []}
    axes.bxp(
        [stats],
        positions=[row],
        widths=0.5,
        orientation="horizontal",
        manage_ticks=False,
        patch_artist=True,
        boxprops={"facecolor": color, "edgecolor": color, "alpha": 0.35},
        medianprops={"color": color, "linewidth": 2.5},
        whiskerprops={"color": color},
        capprops={"color": color},
    )
    step = -(-len(distances) // _MAX_POINTS)
    shown = np.concatenate([np.sort(distances)[::step], distances.max(keepdims=True)])
    jitter = np.random.default_rng(row).uniform(-0.22, 0.22, size=len(shown))
    axes.scatter(shown, row + jitter, s=7, color=color, alpha=0.5, linewidths=0)


def _scale(axes: Axes) -> None:
    """A logarithmic axis of 1 - cosine below, with the cosine itself above."""
    axes.set_xscale("log")
    axes.set_xlim(MIN_EPS * 0.8, max(1.2, axes.get_xlim()[1]))
    axes.set_xticks(_TICKS, [f"≤ {_TICKS[0]:g}", *(f"{tick:g}" for tick in _TICKS[1:])])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("1 - cosine (eps), logarithmic: what lies left of a line is found")
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    above = axes.secondary_xaxis("top")
    above.set_xticks(_TICKS, [f"{1 - tick:g}" for tick in _TICKS])
    above.set_xticks([], minor=True)
    above.set_xlabel("cosine")
