"""The removed images and those that a larger eps would remove, each pair with its band."""

from __future__ import annotations

import numpy as np
import polars as pl

from curator_assets.kernels.keep_order import random_order
from curator_assets.report.numbers.cosine_bands import Band, band_of


def banded_pairs(
    groups: pl.DataFrame, beyond: pl.DataFrame | None, bands: list[Band], eps: float
) -> pl.DataFrame:
    """The removed images and those that only a larger eps removes, each with its `band`.

    Args:
        groups: the table of `duplicate_groups`.
        beyond: the same at `max_eps`; None if it was not resolved.
        bands: of the settings.
        eps: the chosen one.

    Returns:
        The columns of `duplicate_groups`, `removed` and `band`.
    """
    parts = [groups.with_columns(removed=pl.lit(True))]
    if beyond is not None:
        farther = pl.col("cosine") < float(np.float32(1 - eps))
        others = beyond.filter(farther).join(groups, on="id", how="anti", maintain_order="left")
        parts.append(others.with_columns(removed=pl.lit(False)))
    pairs = pl.concat(
        part.with_columns(pl.col("shard", "kept_shard").cast(pl.String)) for part in parts
    )
    return pairs.with_columns(band=pl.Series(band_of(pairs["cosine"].to_numpy(), bands)))


def draw_pairs(pairs: pl.DataFrame, n: int, seed: int) -> pl.DataFrame:
    """A seeded sample of pairs, stable when others come or go."""
    names = (f"{row[0]}\n{row[1]}" for row in pairs.select("id", "kept_id").iter_rows())
    return pairs[random_order(names, seed=seed)[:n]]
