"""Edges between nodes that are numbered by priority: earlier ones remove later ones.

Legend: E edges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Edges = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Nodes int64 [E], the earlier and the later, and float32 [E] cosine."""


def joined(*parts: Edges) -> Edges:
    """All edges: nodes int64 [E] (earlier, later) and float32 [E] cosine."""
    empty = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    first, second, cosine = zip(empty, *parts, strict=True)
    return np.concatenate(first), np.concatenate(second), np.concatenate(cosine)


def strongest(
    n_nodes: int,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    cosine: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each node the edge to an earlier one of highest cosine, ties to the earliest.

    One unsigned key an edge: the cosine's bits, made to ascend with its value, above the
    complement of the earlier node. Node numbers stay below 2**32.
    """
    low = np.uint64(2**32 - 1)
    bits = cosine.view(np.uint32)
    ascending = np.where(bits >> 31, ~bits, bits | np.uint32(2**31)).astype(np.uint64)
    best = np.zeros(n_nodes, np.uint64)
    np.maximum.at(best, second, ascending << np.uint64(32) | (low - first.astype(np.uint64)))
    kept_by = np.where(best > 0, (low - (best & low)).astype(np.int64), -1)
    ascending = (best >> np.uint64(32)).astype(np.uint32)
    bits = np.where(ascending >> 31, ascending & np.uint32(2**31 - 1), ~ascending)
    return kept_by, np.where(best > 0, bits.view(np.float32), np.float32(np.nan))
