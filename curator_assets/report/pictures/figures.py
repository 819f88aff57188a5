"""What each chart draws. No name that a user gave is in any: a font could lack it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from curator_assets.report.numbers.score_distributions import ScoreCounts
from curator_assets.report.pictures.axis_ticks import (
    number,
    plain,
    put_ticks,
    readable_ticks,
    scale,
)
from curator_assets.report.pictures.chart_rendering import (
    BLUE,
    GROUND,
    VERMILLION,
    new_axes,
)
from curator_assets.report.pictures.labelled_lines import RECOMMENDED, Line, draw_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

KEPT_TO_REMOVED = (
    *(BLUE, "#3f74a4", "#5c7495", "#747486", "#897376", "#9d7065", "#b06c51", "#c36637"),
    VERMILLION,
)
"""Even steps in OKLab, as people see colours, each readable on a light and on a dark ground."""

_BEYOND = {"min": "below", "max": "above"}
_MAX_VECTORS = 500  # more marks than this are drawn as a picture within the SVG


def draw_score(counts: ScoreCounts) -> Figure:
    """The histogram of a score; what its rules drop is in the colour of what is removed."""
    bounds = counts.kept_at_bounds()
    figure, axes = new_axes(n_labels=len(bounds))
    dropped, n = np.zeros_like(counts.counts), int(counts.counts.sum())
    for side, _, n_kept in bounds:
        dropped += _outermost(counts.counts, n - n_kept, side)
    axes.stairs(counts.counts, counts.edges, fill=True, color=BLUE)
    if dropped.any():
        dropped = np.minimum(dropped, counts.counts)
        axes.stairs(dropped, counts.edges, fill=True, color=VERMILLION)
    low, high = counts.edges[[0, -1]]
    scale(axes.xaxis, low, high, is_log=counts.span.is_logarithmic)
    _count_axis(axes, int(counts.counts.max(initial=0)))
    draw_lines(
        axes,
        [
            Line(bound, f"{side} {plain(bound)}: {number(n - n_kept)} {_BEYOND[side]}")
            for side, bound, n_kept in bounds
        ],
    )
    axes.set_xlabel("value")
    axes.set_ylabel("readable images")
    return figure


def _outermost(counts: np.ndarray, n: int, side: str) -> np.ndarray:
    """How many of each bin, int64 [B], are among the `n` lowest ("min") or highest values."""
    ordered = counts if side == "min" else counts[::-1]
    taken = np.clip(n - (np.cumsum(ordered) - ordered), 0, ordered)
    found: np.ndarray = taken if side == "min" else taken[::-1]
    return found


def draw_eps_curve(curve: pl.DataFrame, eps: float, recommended: float | None) -> Figure:
    """Removed images by eps; the chosen one is marked, and the recommended one if it differs."""
    removed = dict(curve.select("eps", "n_removed").iter_rows())
    n = removed.get(eps)
    about = f": {number(n)} removed" if n is not None else ""
    if recommended == eps:
        lines = [Line(eps, f"chosen and recommended {eps:g}{about}")]
    else:
        lines = [Line(eps, f"chosen {eps:g}{about}")]
        if recommended is not None:
            lines.append(Line(recommended, f"recommended {recommended:g}", *RECOMMENDED))
    figure, axes = new_axes(n_labels=len(lines))
    axes.plot(list(removed), list(removed.values()), "o-", color=BLUE, ms=4, clip_on=False)
    scale(axes.xaxis, 0, max([*removed, eps]))
    _count_axis(axes, max(removed.values()))
    axes.grid(axis="x")
    draw_lines(axes, lines)
    axes.set_xlabel("eps (1 - cosine)")
    axes.set_ylabel("images removed")
    return figure


def draw_group_sizes(sizes: pl.DataFrame) -> Figure:
    """How many groups there are of each size, an axis logarithmic where its numbers differ much."""
    figure, axes = new_axes()
    size, n_groups = sizes["size"].to_numpy(), sizes["n_groups"].to_numpy()
    largest, most = int(size.max(initial=2)), int(n_groups.max(initial=1))
    is_wide, is_high = largest > 20, most > 50
    if is_wide or is_high:  # a bar has no length on a logarithmic axis
        is_picture = len(size) > _MAX_VECTORS
        axes.plot(size, n_groups, "o", color=BLUE, ms=5, rasterized=is_picture, clip_on=False)
    else:
        axes.bar(size, n_groups, color=BLUE)
    if is_wide:
        scale(axes.xaxis, 1.8, largest * 1.1, is_log=True, is_whole=True)
    else:
        scale(axes.xaxis, 1.4, max(largest, 8) + 0.6, is_whole=True)
    if is_high:
        scale(axes.yaxis, 0.8, most * 1.3, is_log=True, is_whole=True)
        axes.grid(axis="y")
    else:
        _count_axis(axes, most)
    axes.set_xlabel("images in the group, the kept one included")
    axes.set_ylabel("groups")
    return figure


def draw_shard_pairs(counts: np.ndarray) -> Figure:
    """Duplicates by the shard that they lie in and the shard of the image kept for them.

    Args:
        counts: int64 [S, S] of S shards in order of arrival, by shard and shard of the kept image.
    """
    from matplotlib.colors import LogNorm

    figure, axes = new_axes(2.9, n_labels=1, right=0.88)
    most = max(counts.max(initial=1), 2)
    image = axes.imshow(
        np.ma.masked_equal(counts, 0),
        cmap=kept_to_removed(),
        norm=LogNorm(1, most),
        interpolation="nearest",
        extent=(0.5, len(counts) + 0.5, len(counts) + 0.5, 0.5),
    )
    axes.spines[:].set_visible(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_inverted(False)
        scale(axis, 0.5, len(counts) + 0.5, is_whole=True)
    axes.yaxis.set_inverted(True)
    axes.set_xlabel("number of the kept image's shard")
    axes.set_ylabel("number of the duplicate's shard")
    _color_bar(axes, image, "duplicates", is_log=True)
    return figure


def draw_cells(cells: pl.DataFrame) -> Figure:
    """The clusters on the map of their centroids: how large, and how much of each is removed."""
    figure, axes = new_axes(3.2, n_labels=1, left=0.42, right=0.88)
    n = cells["n_images"].to_numpy()
    removed = removed_fractions(cells)
    order = np.argsort(-n, kind="stable")
    is_picture = len(n) > _MAX_VECTORS
    dots = axes.scatter(
        cells["x"].to_numpy()[order],
        cells["y"].to_numpy()[order],
        s=np.maximum(3000 * n[order] / max(n.sum(), 1), 4),
        c=removed[order],
        cmap=kept_to_removed(),
        vmin=0,
        vmax=max(float(removed.max(initial=0)), 0.01),
        linewidths=0 if is_picture else 0.6,
        edgecolors="none" if is_picture else GROUND,
        rasterized=is_picture,
    )
    axes.margins(0.1)  # for the dots have a size
    put_ticks(axes.xaxis, [])
    put_ticks(axes.yaxis, [])
    axes.set_xlabel("first principal component of the centroids")
    axes.set_ylabel("second")
    _color_bar(axes, dots, "removed", is_log=False)
    return figure


def draw_cell_sizes(n_images: np.ndarray) -> Figure:
    """The sizes of the clusters, int64 [K], the largest first."""
    figure, axes = new_axes()
    sizes = np.sort(n_images)[::-1]
    ranks = np.unique(np.geomspace(1, len(sizes), 400).astype(int))
    marker = "o" if len(sizes) < 40 else None
    axes.plot(ranks, sizes[ranks - 1], color=BLUE, marker=marker, ms=4, clip_on=False)
    is_log = len(sizes) > 100
    scale(axes.xaxis, 1, len(sizes), is_log=is_log, is_whole=True)
    _count_axis(axes, sizes[0])
    axes.grid(axis="x")
    axes.set_xlabel("cluster, the largest first")
    axes.set_ylabel("images")
    return figure


def removed_fractions(cells: pl.DataFrame) -> np.ndarray:
    """float64 [K]: the share of each cell's images that is not kept; 0 of an empty one."""
    n, n_kept = cells["n_images"].to_numpy(), cells["n_kept"].to_numpy()
    fractions: np.ndarray = (n - n_kept) / np.maximum(n, 1)
    return fractions


def kept_to_removed() -> Colormap:
    """From the colour of what is kept to that of what is removed."""
    from matplotlib.colors import ListedColormap

    return ListedColormap(KEPT_TO_REMOVED)


def _count_axis(axes: Axes, most: int) -> None:
    """A y-axis of counts, from 0."""
    scale(axes.yaxis, 0, max(int(most), 1) * 1.04, is_whole=True)
    axes.grid(axis="y")


def _color_bar(axes: Axes, shown: ScalarMappable, label: str, *, is_log: bool) -> None:
    """The colours' meaning at the right of the axes."""
    figure, box = axes.figure, axes.get_position()
    aside = figure.add_axes((box.x1 + 0.025, box.y0, 0.03, box.height))
    bar = figure.colorbar(shown, cax=aside)
    if bar.solids:
        bar.solids.set_edgecolor("face")  # or the ground shines through between the steps
    bar.outline.set_visible(False)
    bar.set_label("")
    ticks = readable_ticks(aside.yaxis, is_log=is_log, is_whole=is_log)
    put_ticks(aside.yaxis, ticks)
    if not is_log:
        bar.set_ticks(ticks, labels=[f"{100 * tick:.3g} %" for tick in ticks])
    aside.set_title(label, fontsize="medium", loc="center", pad=9)
