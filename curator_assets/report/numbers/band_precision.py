"""The share of right removals in each band by the marked pairs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from curator_assets.report.numbers.cosine_bands import Band, band_of
from curator_assets.report.numbers.marked_pairs import Mark
from curator_assets.report.numbers.score_interval import wilson


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
        low, high = wilson(n_right, n, n_pairs.get(number, 0))
        share = n_right / n if n else None
        edges = band.name, band.eps_from, band.eps_to
        rows.append((*edges, n_pairs.get(number, 0), n, n_right, share, low, high))
    schema = {"band": pl.String, "eps_from": pl.Float64, "eps_to": pl.Float64}
    counts = dict.fromkeys(("n_pairs", "n_marked", "n_duplicate"), pl.Int64)
    shares = dict.fromkeys(("precision", "low", "high"), pl.Float64)
    return pl.DataFrame(rows, schema={**schema, **counts, **shares}, orient="row")
