"""What each chart draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from curator_assets.report.numbers.score_distributions import ScoreCounts
from curator_assets.report.pictures.chart_rendering import (
    BLUE,
    GREY,
    ORANGE,
    RED,
    new_figure,
    plain_numbers,
    plain_text,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_VECTORS = 1_000  # more marks than this are drawn as a picture within the SVG
_MAX_LABELS = 30


def draw_funnel(labels: Sequence[str], counts: Sequence[int]) -> Figure:
    """A bar a step, from read to kept."""
    figure = new_figure(height=0.8 + 0.32 * len(labels))
    axes = figure.subplots()
    last = len(labels) - 1
    colors = [BLUE if row in (0, last) else ORANGE for row in range(len(labels))]
    bars = axes.barh(range(len(labels)), counts, color=colors)
    axes.bar_label(bars, [f" {count:,}" for count in counts], padding=2)
    axes.set_yticks(range(len(labels)), [plain_text(label) for label in labels])
    axes.invert_yaxis()
    axes.set_xlabel("images")
    axes.margins(x=0.12)
    return figure


def draw_score(counts: ScoreCounts) -> Figure:
    """The histogram of a score; what its rules drop is shaded."""
    figure = new_figure()
    axes = figure.subplots()
    edges = counts.edges
    axes.stairs(counts.counts, edges, fill=True, color=BLUE)
    if counts.span.is_logarithmic:
        axes.set_xscale("log")
        plain_numbers(axes.xaxis, edges[-1] / edges[0])
    for side, bound in counts.bounds:
        axes.axvline(bound, color=RED, linewidth=1.5, label=f"{side} {bound:g}")
        outside = (edges[0], bound) if side == "min" else (bound, edges[-1])
        if outside[0] < outside[1]:
            axes.axvspan(*outside, color=RED, alpha=0.12, linewidth=0)
    axes.set_xlabel(plain_text(counts.score))
    axes.set_ylabel("readable images")
    axes.grid(axis="y")
    if counts.bounds:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, borderpad=0)
    return figure


def draw_eps_curve(curve: pl.DataFrame, eps: float) -> Figure:
    """Removed images by eps, the chosen one marked."""
    figure = new_figure()
    axes = figure.subplots()
    axes.plot(curve["eps"].to_numpy(), curve["n_removed"].to_numpy(), "o-", color=BLUE, ms=4)
    axes.axvline(eps, color=RED, linewidth=1.5, label=f"chosen: {eps:g}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("eps (1 - cosine)")
    axes.set_ylabel("images removed")
    axes.grid()
    axes.legend()
    return figure


def draw_group_sizes(sizes: pl.DataFrame) -> Figure:
    """How many groups there are of each size, both axes logarithmic where sizes differ much."""
    figure = new_figure()
    axes = figure.subplots()
    size, n_groups = sizes["size"].to_numpy(), sizes["n_groups"].to_numpy()
    if size.max(initial=2) > 20:
        axes.plot(size, n_groups, "o", color=BLUE, ms=4, rasterized=len(size) > _MAX_VECTORS)
        axes.set_xscale("log")
        plain_numbers(axes.xaxis, size.max() / 2)
    else:
        last = max(int(size.max(initial=2)), 8)
        axes.bar(size, n_groups, color=BLUE)
        axes.set_xticks(range(2, last + 1))
        axes.set_xlim(1.4, last + 0.6)
    if n_groups.max(initial=1) > 50:
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.7)  # or a bar of one group would have no height
        plain_numbers(axes.yaxis, n_groups.max())
    axes.set_xlabel("images in the group, the kept one included")
    axes.set_ylabel("groups")
    axes.grid(axis="y")
    return figure


def draw_shard_pairs(pairs: pl.DataFrame, shards: Sequence[str]) -> Figure:
    """Duplicates by the shard that they lie in and the shard of the image kept for them."""
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    number = {shard: i for i, shard in enumerate(shards)}
    counts = np.zeros((len(shards), len(shards)))
    for shard, kept_shard, n in pairs.iter_rows():
        if shard in number and kept_shard in number:
            counts[number[shard], number[kept_shard]] = n
    side = min(1.6 + 0.15 * len(shards), 4.6)
    figure = new_figure(side + 1.6, side + 0.6)
    axes = figure.subplots()
    clear_to_orange = LinearSegmentedColormap.from_list("shares", [ORANGE + "40", ORANGE])
    image = axes.imshow(
        np.ma.masked_equal(counts, 0),
        cmap=clear_to_orange,
        norm=LogNorm(1, max(counts.max(initial=1), 2)),
        interpolation="nearest",
    )
    bar = figure.colorbar(image, label="duplicates")
    plain_numbers(bar.ax.yaxis, counts.max(initial=1))
    axes.spines[:].set_visible(True)
    axes.set_xlabel("shard of the kept image")
    axes.set_ylabel("shard of the duplicate")
    names = [plain_text(shard) for shard in shards]
    if len(shards) <= _MAX_LABELS:
        axes.set_xticks(range(len(shards)), names, rotation=90, fontsize=8)
        axes.set_yticks(range(len(shards)), names, fontsize=8)
    return figure


def draw_cells(cells: pl.DataFrame) -> Figure:
    """Cluster sizes in order, and the clusters on the map of their centroids."""
    from matplotlib.colors import LinearSegmentedColormap

    figure = new_figure(10.4, 4.2)
    curve, plane = figure.subplots(1, 2, width_ratios=[1, 1.3])
    sizes = np.sort(cells["n_images"].to_numpy())[::-1]
    shown = np.unique(np.geomspace(1, max(len(sizes), 1), 400).astype(int)) - 1
    shown = shown[: len(sizes)]
    curve.plot(shown + 1, sizes[shown], color=BLUE, marker="o" if len(sizes) < 40 else None, ms=4)
    curve.set_xlabel("cluster, the largest first")
    curve.set_ylabel("images")
    curve.set_ylim(bottom=0)
    if len(sizes) > 100:
        curve.set_xscale("log")
        plain_numbers(curve.xaxis, len(sizes))
    curve.grid()
    n = cells["n_images"].to_numpy()
    fraction = 1 - cells["n_kept"].to_numpy() / np.maximum(n, 1)
    order = np.argsort(-n, kind="stable")
    dots = plane.scatter(
        cells["x"].to_numpy()[order],
        cells["y"].to_numpy()[order],
        s=np.maximum(3000 * n[order] / max(n.sum(), 1), 1),
        c=fraction[order],
        cmap=LinearSegmentedColormap.from_list("removed", [BLUE, GREY, ORANGE]),
        vmin=0,
        vmax=max(float(fraction.max(initial=0)), 0.01),
        alpha=0.85,
        linewidths=0,
        rasterized=len(n) > _MAX_VECTORS,
    )
    bar = figure.colorbar(dots, label="removed")
    bar.ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.3g} %")
    plane.set_xlabel("first principal component of the centroids")
    plane.set_ylabel("second")
    return figure
