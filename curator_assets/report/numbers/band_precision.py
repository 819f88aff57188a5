"""The share of right removals in each band by the marked pairs, and what eps follows from it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import polars as pl

from curator_assets.report.numbers.cosine_bands import Band, band_of
from curator_assets.report.numbers.marked_pairs import Mark

MIN_MARKED = 10
"""Marked pairs in a band below which it says nothing."""

_Z = 1.959964  # of a 95 % interval


def wilson(n_right: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson, 1927); all of [0, 1] for none seen."""
    if not n:
        return 0.0, 1.0
    share, z2 = n_right / n, _Z**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def precision(n_pairs: Mapping[int, int], bands: list[Band], marks: list[Mark]) -> pl.DataFrame:
    """The table `precision`: of each band the pairs, the marked ones and how many are right.

    Args:
        n_pairs: number of a band -> its pairs.
        bands: of the settings.
        marks: the pairs that people marked.
    """
    in_band = band_of(np.array([mark.cosine for mark in marks], np.float32), bands)
    right = np.array([mark.is_duplicate for mark in marks], bool)
    rows = []
    for number, band in enumerate(bands):
        n, n_right = int((in_band == number).sum()), int(right[in_band == number].sum())
        low, high = wilson(n_right, n)
        share = n_right / n if n else None
        edges = band.name, band.eps_from, band.eps_to
        rows.append((*edges, n_pairs.get(number, 0), n, n_right, share, low, high))
    schema = {"band": pl.String, "eps_from": pl.Float64, "eps_to": pl.Float64}
    counts = dict.fromkeys(("n_pairs", "n_marked", "n_duplicate"), pl.Int64)
    shares = dict.fromkeys(("precision", "low", "high"), pl.Float64)
    return pl.DataFrame(rows, schema={**schema, **counts, **shares}, orient="row")


def recommend(table: pl.DataFrame, wished: float, by: str) -> float | None:
    """The largest eps such that all bands up to it are precise enough.

    A band with fewer than `MIN_MARKED` marked pairs ends the search, unless it holds no pair and
    none is marked.

    Args:
        table: `precision`.
        wished: least precision.
        by: column that is held against it: `precision`, or `low` to be sure of it.

    Returns:
        A band's far end; None if not even the first band with pairs is known to be precise enough.
    """
    found = None
    for row in table.to_dicts():
        if row["n_pairs"] == 0 and not row["n_marked"]:
            found = None if found is None else row["eps_to"]
        elif row["n_marked"] >= MIN_MARKED and row[by] >= wished:
            found = row["eps_to"]
        else:
            break
    return found


def n_needed(wished: float) -> int | None:
    """How many pairs of a band, all of them right, put its interval above `wished`."""
    return None if wished >= 1 else math.ceil(_Z**2 * wished / (1 - wished))
