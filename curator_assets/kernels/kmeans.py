"""The codebook: a training sample without near-duplicates, and the centroids of its cells.

Legend: N images, D embedding width, K cells.

Training on the raw sample gives the better objective and the worse cells: centroids settle inside
large groups of duplicates and split them (docs/log.md). Hence the thinned sample.
"""

from __future__ import annotations

import math

import faiss
import numpy as np
from numpy.typing import NDArray

from curator_assets.kernels.duplicates import identical_rows, semdedup_scores

_PIVOT_CELL = 256
_MAX_RUN = 2048
_ASSIGN_ROWS = 8192
_PRODUCTS_AT_ONCE = 2**26
_SPREAD_START_PRODUCTS = 1_000_000_000
_ROUNDING = 1e-5


def deduplicate_sample(
    embeddings: NDArray[np.float32], *, min_cosine: float, seed: int
) -> NDArray[np.int64]:
    """Rows of a sample that remain when most near-duplicates are thinned out of it.

    Cheap and approximate: exact copies go first; the rest is split over random pivots, and within
    each split of at most 2,048 rows a row goes if an earlier one is within ``min_cosine``.

    Args:
        embeddings: float32 [N, D], unit L2 norm.
        min_cosine: rows at or above it count as near-duplicates.
        seed: of the choice of pivots.

    Returns:
        int64 rows, ascending; at least one if N > 0.
    """
    n_rows = len(embeddings)
    no_cell = np.zeros(n_rows, np.int32)
    rows: NDArray[np.int64] = np.arange(n_rows)
    first = identical_rows(embeddings, rows, home=no_cell, cosine=no_cell.astype(np.float32))
    rows = rows[first == rows]
    if not n_rows:
        return rows
    n_pivots = -(-len(rows) // _PIVOT_CELL)
    pivots = embeddings[np.random.default_rng(seed).choice(rows, n_pivots, replace=False)]
    nearest = np.concatenate(
        [
            (embeddings[rows[start : start + _ASSIGN_ROWS]] @ pivots.T).argmax(axis=1)
            for start in range(0, len(rows), _ASSIGN_ROWS)
        ]
    )
    by_pivot = np.argsort(nearest, kind="stable")
    kept = []
    for members in np.split(rows[by_pivot], np.flatnonzero(np.diff(nearest[by_pivot])) + 1):
        for start in range(0, len(members), _MAX_RUN):
            run = members[start : start + _MAX_RUN]
            scores, _ = semdedup_scores(embeddings[run], np.arange(len(run)))
            scores[0] = -np.inf
            kept.append(run[scores < np.float32(min_cosine)])
    return np.sort(np.concatenate(kept))


def train_centroids(
    embeddings: NDArray[np.float32], *, n_clusters: int, n_iterations: int, seed: int
) -> NDArray[np.float32]:
    """Centroids of a spherical k-means by FAISS, on the GPU where there is one.

    Small problems start from k-means++ (Arthur and Vassilvitskii, 2007), which matters for few
    clusters; large ones from random rows. All rows are used: thin them first with
    ``deduplicate_sample``. On CPU the result depends on the arguments alone.

    Args:
        embeddings: float32 [N, D], unit L2 norm.
        n_clusters: cells wished for, at least 1.
        n_iterations: of k-means, at least 1.
        seed: of the initial choice of centroids.

    Returns:
        float32 [K, D], unit L2 norm, no two equal. K is ``n_clusters``, or the number of distinct
        rows or distinct centroids where that is smaller.

    Raises:
        ValueError: ``n_clusters`` or ``n_iterations`` is below 1.
    """
    if n_clusters < 1 or n_iterations < 1:
        raise ValueError(
            f"n_clusters and n_iterations must be at least 1, got {n_clusters} and {n_iterations}"
        )
    vectors = np.ascontiguousarray(embeddings, dtype=np.float32)
    if len(vectors) <= n_clusters:
        return _distinct_unit_rows(vectors)
    kmeans = faiss.Kmeans(
        vectors.shape[1],
        n_clusters,
        niter=n_iterations,
        seed=seed,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=len(vectors),  # never subsample
        gpu=bool(faiss.get_num_gpus()),
    )
    start = None
    if vectors.size * n_clusters <= _SPREAD_START_PRODUCTS:
        start = _spread_start(vectors, n_clusters, seed)
    kmeans.train(vectors, init_centroids=start)
    return _distinct_unit_rows(np.asarray(kmeans.centroids))


def mean_cosine_to_nearest(
    embeddings: NDArray[np.float32], centroids: NDArray[np.float32]
) -> float:
    """Mean cosine similarity of embeddings to their nearest centroid.

    Args:
        embeddings: float32 [N, D], unit L2 norm, N at least 1.
        centroids: float32 [K, D], unit L2 norm, K at least 1.
    """
    n_rows = max(1, _PRODUCTS_AT_ONCE // len(centroids))
    blocks = (embeddings[start : start + n_rows] for start in range(0, len(embeddings), n_rows))
    nearest = [(block @ centroids.T).max(axis=1) for block in blocks]
    return float(np.concatenate(nearest).mean(dtype=np.float64))


def _spread_start(vectors: NDArray[np.float32], n_clusters: int, seed: int) -> NDArray[np.float32]:
    """Float32 [K, D]: rows drawn one by one, likelier the farther they lie from those drawn.

    Of a few draws the one that leaves the smallest sum of squared distances is taken (the greedy
    k-means++ of scikit-learn). Once every row equals a drawn one, draws are even.
    """
    rng = np.random.default_rng(seed)
    n_draws = 2 + int(math.log(n_clusters))
    chosen = [int(rng.integers(len(vectors)))]
    squared = _squared_distances(vectors, chosen)[:, 0]
    while len(chosen) < n_clusters:
        cumulative = np.cumsum(squared if squared.any() else np.ones(len(vectors)))
        places = np.searchsorted(cumulative, rng.random(n_draws) * cumulative[-1], side="right")
        draws = np.minimum(places, len(vectors) - 1).tolist()
        after = np.minimum(squared[:, None], _squared_distances(vectors, draws))
        best = int(after.sum(axis=0).argmin())
        chosen.append(draws[best])
        squared = after[:, best]
    return vectors[chosen]


def _squared_distances(vectors: NDArray[np.float32], rows: list[int]) -> NDArray[np.float64]:
    """Float64 [N, n]: between unit vectors and some of them, 0 where only rounding is left."""
    squared = 2.0 - 2.0 * (vectors @ vectors[rows].T).astype(np.float64)
    squared[squared < _ROUNDING] = 0.0
    return squared


def _distinct_unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows without repeats, scaled to unit norm; a zero row (opposite members) is dropped."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    usable = np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)
    unit: NDArray[np.float32] = vectors[usable] / norms[usable]
    _, first = np.unique(unit, axis=0, return_index=True)
    return np.ascontiguousarray(unit[np.sort(first)])
