"""What is found in a chart, in a sentence, for those who do not see it."""

from __future__ import annotations

import numpy as np
import polars as pl

from curator_assets.number_words import counted
from curator_assets.report.numbers.score_distributions import ScoreCounts
from curator_assets.report.pictures.axis_ticks import plain
from curator_assets.report.pictures.figures import removed_fractions


def of_eps_curve(curve: pl.DataFrame, eps: float, recommended: float | None) -> str:
    """How many images the chosen eps removes, and a smaller and a larger one."""
    removed = dict(curve.select("eps", "n_removed").iter_rows())
    said = [eps] if eps in removed else []
    smaller, larger = [e for e in removed if 0 < e < eps], [e for e in removed if e > eps]
    if smaller:
        said.append(min(smaller, key=lambda e: abs(e - eps / 3)))
    if larger:
        said.append(max(larger))
    parts = [f"{removed[e]:,} at {e:g}" for e in said[1:]]
    first = counted(removed[said[0]], "image")
    verb = "is" if removed[said[0]] == 1 else "are"
    text = ", ".join([f"{first} {verb} removed at eps {said[0]:g}", *parts])
    return f"{text}.{f' Recommended: eps {recommended:g}.' if recommended is not None else ''}"


def of_group_sizes(sizes: pl.DataFrame) -> str:
    """How many groups there are, of which size most are, and how large the largest is."""
    largest, n = int(sizes["size"].to_numpy().max()), int(sizes["n_groups"].sum())
    commonest = sizes.row(int(sizes["n_groups"].to_numpy().argmax()), named=True)
    if len(sizes) == 1:
        each = "of" if n == 1 else "each of"
        return f"{counted(n, 'group')}, {each} {counted(largest, 'image')}."
    return (
        f"Of {n:,} groups, {commonest['n_groups']:,} have {counted(commonest['size'], 'image')}; "
        f"the largest has {counted(largest, 'image')}."
    )


def of_shard_pairs(counts: np.ndarray) -> str:
    """How many duplicates there are, and between which shards the most."""
    row, column = np.unravel_index(counts.argmax(), counts.shape)
    n, within = int(counts.sum()), int(counts.trace())
    where = "" if row == column else f" with the kept image in shard {column + 1}"
    if n == 1:
        return f"1 duplicate, in shard {row + 1}{where or ' with the image kept'}."
    return (
        f"{counted(n, 'duplicate')}, {within:,} of them in one shard with the image kept; "
        f"the most, {int(counts.max()):,}, in shard {row + 1}{where}."
    )


def of_cells(cells: pl.DataFrame) -> str:
    """Between which shares of the clusters' images are removed."""
    fractions = removed_fractions(cells)[cells["n_images"].to_numpy() > 0]
    if not len(fractions):
        return "No cluster holds an image."
    least, most = (f"{100 * share:.3g} %" for share in (fractions.min(), fractions.max()))
    share = f"{least}" if least == most else f"{least} to {most}"
    return f"{counted(len(fractions), 'cluster')} with images, {share} of each removed."


def of_cell_sizes(n_images: np.ndarray) -> str:
    """How large the largest, the middle and the smallest cluster are."""
    return (
        f"{counted(len(n_images), 'cluster')}: the largest holds "
        f"{counted(int(n_images.max()), 'image')}, the median {plain(np.median(n_images))}, "
        f"the smallest {int(n_images.min()):,}."
    )


def of_score(counts: ScoreCounts) -> str:
    """Between which values the images lie, and how many each threshold drops."""
    n = int(counts.counts.sum())
    low, high = counts.span.low, counts.span.high
    values = f"values from {_four(low)} to {_four(high)}"
    if low == high:
        values = f"the value {_four(low)}"
    said = [f"{counted(n, 'readable image')} {'has' if n == 1 else 'have'} {values}"]
    for side, bound, n_kept in counts.kept_at_bounds():
        lie = "lies" if n - n_kept == 1 else "lie"
        where = "below" if side == "min" else "above"
        said.append(f"{n - n_kept:,} {lie} {where} {plain(bound)}")
    return f"{'; '.join(said)}."


def _four(value: float) -> str:
    """A number in four digits."""
    return plain(float(f"{value:.4g}"))
