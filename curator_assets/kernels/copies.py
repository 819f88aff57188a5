"""Images of which there are several, found by a hash of each; and the classes that copies form.

Legend: N images, n of them, C of them that have a copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curator_assets.kernels.sorted_runs import Scratch, SortedRuns

Copies = tuple[NDArray[np.integer], NDArray[np.integer]]
"""Rows [n] and rows [n]: each of the first is identical with that of the second."""


class CopyFinder:
    """Which images have the same hash, among images that come block by block.

    Args:
        row_type: of row numbers.
        scratch: where hashes lie that do not fit into memory.
    """

    def __init__(self, row_type: np.dtype[np.integer], scratch: Scratch) -> None:
        fields = [("high", np.uint64), ("low", np.uint64), ("row", row_type)]
        self._dtype, self._runs = np.dtype(fields), SortedRuns("high", scratch)

    def append(self, rows: NDArray[np.int64], hashes: NDArray[np.uint64]) -> None:
        """Add images int64 [n], ascending, with their hashes uint64 [n, 2]."""
        records = np.empty(len(rows), self._dtype)
        records["high"], records["low"], records["row"] = hashes[:, 0], hashes[:, 1], rows
        self._runs.append(records)

    def copies(self) -> Copies:
        """For each image that has a hash a second time: the first with it, and the image."""
        empty = np.zeros(0, self._dtype["row"])
        firsts, others = [empty], [empty]
        for piece in self._runs.pieces():
            same = np.zeros(len(piece) + 1, np.bool_)  # as the one before
            same[1:-1] = piece["high"][1:] == piece["high"][:-1]
            shared = piece[same[1:] | same[:-1]]
            shared = shared[np.lexsort((shared["row"], shared["low"], shared["high"]))]
            starts = np.ones(len(shared), np.bool_)
            for field in ("high", "low"):
                starts[1:] &= shared[field][1:] == shared[field][:-1]
            starts[1:] = ~starts[1:]
            first = shared["row"][np.flatnonzero(starts)[np.cumsum(starts) - 1]]
            firsts.append(first[~starts])
            others.append(shared["row"][~starts])
        return np.concatenate(firsts), np.concatenate(others)


def identity_classes(copies: Sequence[Copies]) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """The images that have a copy, and which of them are one class, over any chain of copies.

    Args:
        copies: of some kinds.

    Returns:
        rows [C], ascending; int64 [C], for each the first place in them of its class.
    """
    empty = np.zeros(0, np.uint32)
    a = np.concatenate([empty, *(pair[0] for pair in copies)])
    b = np.concatenate([empty, *(pair[1] for pair in copies)])
    rows = np.unique(np.concatenate([a, b]))
    a, b = np.searchsorted(rows, a), np.searchsorted(rows, b)
    label = np.arange(len(rows))
    while len(a):
        low, high = np.minimum(label[a], label[b]), np.maximum(label[a], label[b])
        apart = low != high
        a, b = a[apart], b[apart]
        np.minimum.at(label, high[apart], low[apart])  # hook each root to a lower one
        while not np.array_equal(label, shorter := label[label]):
            label = shorter
    return rows, label
