"""Identical vectors, and the peers' duplicate score.

Legend: N images, D embedding width, n chosen rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_DIGEST_ROWS = 8192
_SCORE_ROWS = 1024


def semdedup_scores(
    embeddings: NDArray[np.float32], order: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Each row's highest cosine to a row before it in ``order``, and which row that is.

    The duplicate score of SemDeDup (Abbas et al., 2023) and NeMo Curator, for the members of one
    cluster. The memory held at a time is one block of products, not the whole matrix.

    Args:
        embeddings: float32 [N, D], unit L2 norm.
        order: int64 [N], a permutation of the rows.

    Returns:
        float32 [N] scores and int64 [N] nearest earlier rows, by row; the first in order scores 0
        and names itself, a tie names the earliest.

    Raises:
        ValueError: ``order`` is no permutation of the rows.
    """
    if len(order) != len(embeddings):
        raise ValueError(f"an order of {len(order)} rows for {len(embeddings)} embeddings")
    rank = rank_of(order)
    vectors = embeddings[order]
    scores = np.full(len(order), -np.inf, np.float32)
    nearest = np.arange(len(order))
    for start in range(0, len(order), _SCORE_ROWS):
        block = vectors[start : start + _SCORE_ROWS]
        for left in range(0, start + len(block), _SCORE_ROWS):
            products = block @ vectors[left : left + _SCORE_ROWS].T
            if left == start:
                products[np.triu_indices(len(block))] = -np.inf
            column = products.argmax(axis=1)
            value = products[np.arange(len(block)), column]
            better = np.flatnonzero(value > scores[start : start + len(block)])
            scores[start + better] = value[better]
            nearest[start + better] = left + column[better]
    scores[:1] = 0.0
    return scores[rank], order[nearest][rank]


def rank_of(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each row in an order: the inverse permutation, int64 [N].

    Raises:
        ValueError: ``order`` is no permutation of 0 .. N - 1.
    """
    rank = np.full(len(order), -1, np.int64)
    inside = order[(order >= 0) & (order < len(order))]
    rank[inside] = np.arange(len(inside))
    if len(inside) < len(order) or (rank < 0).any():
        raise ValueError(f"order is no permutation of {len(order)} rows")
    return rank


def identical_rows(
    embeddings: NDArray[np.float32],
    rows: NDArray[np.int64],
    *,
    home: NDArray[np.int32],
    cosine: NDArray[np.float32],
) -> NDArray[np.int64]:
    """For each of ``rows`` the first row with the same vector and home, itself if none is before.

    Only rows that share home and cosine are read: identical vectors do, different ones rarely.

    Args:
        embeddings: float32 [N, D].
        rows: int64 [n], ascending, each in [0, N).
        home: int32 [n], their home cells.
        cosine: float32 [n], cosine to the home's centroid.

    Returns:
        int64 [n], a row of ``embeddings`` each.
    """
    first = rows.copy()
    candidates, _ = _groups_of_equals(home, cosine)
    digests = np.concatenate(
        [np.zeros(0, np.uint64)]
        + [
            _digests(embeddings[rows[candidates[start : start + _DIGEST_ROWS]]])
            for start in range(0, len(candidates), _DIGEST_ROWS)
        ]
    )
    order, leader = _groups_of_equals(home[candidates], digests)
    members, leaders = candidates[order], candidates[leader]
    for start in range(0, len(members), _DIGEST_ROWS):
        member, lead = members[start : start + _DIGEST_ROWS], leaders[start : start + _DIGEST_ROWS]
        same = (embeddings[rows[member]] == embeddings[rows[lead]]).all(axis=1)
        first[member[same]] = rows[lead[same]]
    return first


def _groups_of_equals(
    home: NDArray[np.int32], value: NDArray[np.generic]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions that share (home, value) with another, and for each the lowest such position."""
    if not len(home):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    order = np.lexsort((value, home))  # stable: positions ascend within a group
    starts = np.ones(len(order), np.bool_)
    starts[1:] = (np.diff(home[order]) != 0) | (value[order][1:] != value[order][:-1])
    group = np.cumsum(starts) - 1
    shared = np.bincount(group)[group] > 1
    leader = order[np.flatnonzero(starts)[group]]
    return order[shared], leader[shared]


def _digests(vectors: NDArray[np.float32]) -> NDArray[np.uint64]:
    """uint64 [n]: equal for equal vectors, 0.0 and -0.0 alike."""
    bits = (vectors + np.float32(0.0)).view(np.uint32).astype(np.uint64)
    weights = np.random.default_rng(0).integers(2**63, size=vectors.shape[1], dtype=np.uint64)
    digests: NDArray[np.uint64] = bits @ (2 * weights + np.uint64(1))
    return digests
