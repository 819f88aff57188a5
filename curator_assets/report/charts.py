"""The charts, each as SVG that takes the page's colours and as PNG on white."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BytesIO, StringIO
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
import polars as pl
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from curator_assets.report.scores import ScoreCounts

MAX_HEAT_MAP_SHARDS = 200

_INK = "#010203"  # replaced by the page's own colour
_BLUE, _ORANGE, _RED, _GREY = "#4a86c5", "#e0762f", "#d64545", "#8a94a0"
_DPI = 100
_MAX_VECTORS = 1_000  # more marks than this are drawn as a picture within the SVG
_MAX_LABELS = 30


@dataclass(frozen=True)
class Chart:
    """A chart by its file's name."""

    name: str
    svg: str
    png: bytes


def of_score(score: str) -> str:
    """The name of a score's chart; a score may be called anything."""
    return f"score_{quote(score, safe='')}"


def render(name: str, draw: Callable[[], Figure]) -> Chart:
    """The chart that `draw` makes, twice; equal figures give equal bytes."""
    with _style():
        figure = draw()
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # it is laid out; each format would do it again, twice
        vector, picture = StringIO(), BytesIO()
        figure.savefig(vector, format="svg", transparent=True, metadata={"Date": None})
        figure.savefig(picture, format="png", facecolor="white")
    svg = vector.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    small = BytesIO()
    Image.open(picture).convert("RGB").quantize(64).save(small, "PNG", optimize=True)
    return Chart(name, svg, small.getvalue())


def _style() -> AbstractContextManager[None]:
    import matplotlib as mpl

    return mpl.rc_context(
        {
            "axes.edgecolor": _INK,
            "axes.labelcolor": _INK,
            "text.color": _INK,
            "xtick.color": _INK,
            "ytick.color": _INK,
            "axes.facecolor": "none",
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.color": _GREY,
            "grid.alpha": 0.25,
            "font.family": ["DejaVu Sans"],
            "font.size": 10,
            "legend.frameon": False,
            "svg.fonttype": "none",
            "svg.hashsalt": "curation_report",
            "svg.id": None,
        }
    )


def _figure(width: float = 5.2, height: float = 2.8) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="none")


def draw_funnel(labels: Sequence[str], counts: Sequence[int]) -> Figure:
    """A bar a step, from read to kept."""
    figure = _figure(height=0.8 + 0.32 * len(labels))
    axes = figure.subplots()
    last = len(labels) - 1
    colors = [_BLUE if row in (0, last) else _ORANGE for row in range(len(labels))]
    bars = axes.barh(range(len(labels)), counts, color=colors)
    axes.bar_label(bars, [f" {count:,}" for count in counts], padding=2)
    axes.set_yticks(range(len(labels)), [_plain(label) for label in labels])
    axes.invert_yaxis()
    axes.set_xlabel("images")
    axes.margins(x=0.12)
    return figure


def draw_score(counts: ScoreCounts) -> Figure:
    """The histogram of a score; what its rules drop is shaded."""
    figure = _figure()
    axes = figure.subplots()
    edges = counts.edges
    axes.stairs(counts.counts, edges, fill=True, color=_BLUE)
    if counts.span.is_logarithmic:
        axes.set_xscale("log")
        _plain_numbers(axes.xaxis, edges[-1] / edges[0])
    for side, bound in counts.bounds:
        axes.axvline(bound, color=_RED, linewidth=1.5, label=f"{side} {bound:g}")
        outside = (edges[0], bound) if side == "min" else (bound, edges[-1])
        if outside[0] < outside[1]:
            axes.axvspan(*outside, color=_RED, alpha=0.12, linewidth=0)
    axes.set_xlabel(_plain(counts.score))
    axes.set_ylabel("readable images")
    axes.grid(axis="y")
    if counts.bounds:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, borderpad=0)
    return figure


def draw_eps_curve(curve: pl.DataFrame, eps: float) -> Figure:
    """Removed images by eps, the chosen one marked."""
    figure = _figure()
    axes = figure.subplots()
    axes.plot(curve["eps"].to_numpy(), curve["n_removed"].to_numpy(), "o-", color=_BLUE, ms=4)
    axes.axvline(eps, color=_RED, linewidth=1.5, label=f"chosen: {eps:g}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("eps (1 - cosine)")
    axes.set_ylabel("images removed")
    axes.grid()
    axes.legend()
    return figure


def draw_group_sizes(sizes: pl.DataFrame) -> Figure:
    """How many groups there are of each size, both axes logarithmic where sizes differ much."""
    figure = _figure()
    axes = figure.subplots()
    size, n_groups = sizes["size"].to_numpy(), sizes["n_groups"].to_numpy()
    if size.max(initial=2) > 20:
        axes.plot(size, n_groups, "o", color=_BLUE, ms=4, rasterized=len(size) > _MAX_VECTORS)
        axes.set_xscale("log")
        _plain_numbers(axes.xaxis, size.max() / 2)
    else:
        last = max(int(size.max(initial=2)), 8)
        axes.bar(size, n_groups, color=_BLUE)
        axes.set_xticks(range(2, last + 1))
        axes.set_xlim(1.4, last + 0.6)
    if n_groups.max(initial=1) > 50:
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.7)  # or a bar of one group would have no height
        _plain_numbers(axes.yaxis, n_groups.max())
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
    figure = _figure(side + 1.6, side + 0.6)
    axes = figure.subplots()
    clear_to_orange = LinearSegmentedColormap.from_list("shares", [_ORANGE + "40", _ORANGE])
    image = axes.imshow(
        np.ma.masked_equal(counts, 0),
        cmap=clear_to_orange,
        norm=LogNorm(1, max(counts.max(initial=1), 2)),
        interpolation="nearest",
    )
    bar = figure.colorbar(image, label="duplicates")
    _plain_numbers(bar.ax.yaxis, counts.max(initial=1))
    axes.spines[:].set_visible(True)
    axes.set_xlabel("shard of the kept image")
    axes.set_ylabel("shard of the duplicate")
    names = [_plain(shard) for shard in shards]
    if len(shards) <= _MAX_LABELS:
        axes.set_xticks(range(len(shards)), names, rotation=90, fontsize=8)
        axes.set_yticks(range(len(shards)), names, fontsize=8)
    return figure


def draw_cells(cells: pl.DataFrame) -> Figure:
    """Cluster sizes in order, and the clusters on the map of their centroids."""
    from matplotlib.colors import LinearSegmentedColormap

    figure = _figure(10.4, 4.2)
    curve, plane = figure.subplots(1, 2, width_ratios=[1, 1.3])
    sizes = np.sort(cells["n_images"].to_numpy())[::-1]
    shown = np.unique(np.geomspace(1, max(len(sizes), 1), 400).astype(int)) - 1
    shown = shown[: len(sizes)]
    curve.plot(shown + 1, sizes[shown], color=_BLUE, marker="o" if len(sizes) < 40 else None, ms=4)
    curve.set_xlabel("cluster, the largest first")
    curve.set_ylabel("images")
    curve.set_ylim(bottom=0)
    if len(sizes) > 100:
        curve.set_xscale("log")
        _plain_numbers(curve.xaxis, len(sizes))
    curve.grid()
    n = cells["n_images"].to_numpy()
    fraction = 1 - cells["n_kept"].to_numpy() / np.maximum(n, 1)
    order = np.argsort(-n, kind="stable")
    dots = plane.scatter(
        cells["x"].to_numpy()[order],
        cells["y"].to_numpy()[order],
        s=np.maximum(3000 * n[order] / max(n.sum(), 1), 1),
        c=fraction[order],
        cmap=LinearSegmentedColormap.from_list("removed", [_BLUE, _GREY, _ORANGE]),
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


def _plain_numbers(axis: Axis, ratio: float) -> None:
    """Plain numbers on a logarithmic axis, more of them where it spans little."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < 1e3 else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def _plain(text: str) -> str:
    """Text that matplotlib takes for what it is: no formulas, and not too long."""
    short = text if len(text) <= 40 else f"…{text[-39:]}"
    return short.replace("$", r"\$")
