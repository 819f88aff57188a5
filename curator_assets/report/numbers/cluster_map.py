"""The clusters: how large, how much is removed in each, and where they lie.

Legend: *K cells, D embedding width*.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from curator_assets.report.numbers.tally import Tally


def cells(tally: Tally, centroids: np.ndarray) -> pl.DataFrame:
    """The table `cells`: every cell, also the empty ones, by number.

    Args:
        tally: by cell; images without an embedding have none.
        centroids: float32 [K, D].
    """
    x, y = principal_components(centroids).T
    places = pl.DataFrame({"cell": np.arange(len(centroids)), "x": x, "y": y})
    counted = tally.by_verdict().with_columns(pl.col("cell").cast(pl.Int64))
    joined = places.join(counted, on="cell", how="left", maintain_order="left")
    return joined.with_columns(pl.col("^n_.*$").fill_null(0))


def principal_components(centroids: np.ndarray) -> np.ndarray:
    """float64 [K, 2]: the centroids on their first two principal components.

    The sign of each component is such that its largest weight is positive.
    """
    centred = centroids.astype(np.float64) - centroids.mean(axis=0, dtype=np.float64)
    if len(centred) < centred.shape[1]:
        axes = np.linalg.svd(centred, full_matrices=False)[2][:2].T
    else:
        axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :2]
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.where(axes[largest, np.arange(axes.shape[1])] < 0, -1, 1)
    places: np.ndarray = centred @ axes
    return np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
