"""The orders that decide which of several images is kept: by keys whose bytes sort.

Legend: N images, n of them, m numbers of a key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from curator_assets.kernels.draws import draw_numbers
from curator_assets.kernels.sorted_runs import Scratch, SortedRuns

Keys = NDArray[np.bytes_]
"""Fixed-width bytes [n]: the image to keep first has the lowest."""


class KeepOrder:
    """The order of images by keys that come block by block.

    Args:
        row_type: of row numbers.
        scratch: where keys lie that do not fit into memory.
        is_descending: whether the highest key comes first.
    """

    def __init__(
        self, row_type: np.dtype[np.integer], scratch: Scratch, *, is_descending: bool = False
    ) -> None:
        self._row_type, self._is_descending = row_type, is_descending
        self._runs = SortedRuns("key", scratch)

    def append(self, rows: NDArray[np.int64], keys: Keys) -> None:
        """Add images, int64 [n], by distinct keys."""
        records = np.empty(len(rows), [("key", keys.dtype), ("row", self._row_type)])
        records["key"], records["row"] = keys, rows
        self._runs.append(records)

    def rows(self) -> NDArray[np.integer]:
        """[n] of the row type: the image to keep first comes first."""
        order, start = np.empty(len(self._runs), self._row_type), 0
        for piece in self._runs.pieces():
            order[start : start + len(piece)] = piece["row"]
            start += len(piece)
        return order[::-1] if self._is_descending else order


def best_keys(
    columns: Sequence[NDArray[np.number]], pixels: NDArray[np.integer], rows: NDArray[np.int64]
) -> Keys:
    """Policy ``best``: highest column values first, then most pixels, then first come.

    Args:
        columns: number [n] each, the most important first; NaN counts as lowest.
        pixels: integer [n], width times height.
        rows: int64 [n], by arrival of the shard, then position in it.
    """
    descending = [-np.nan_to_num(np.asarray(c, np.float64), nan=-np.inf) for c in columns]
    numbers = [_ascending_floats(column) for column in descending]
    numbers.append(_ascending_integers(-np.asarray(pixels, np.int64)))
    return _as_bytes([*numbers, rows.astype(np.uint64)])


def easy_keys(distance: NDArray[np.floating], ids: Sequence[str]) -> Keys:
    """Policy ``easy``: nearest to the centroid first, ties by ascending id (NeMo Curator).

    Policy ``hard`` is its reverse.

    Args:
        distance: float [n], distance to the centroid of the image's cell; NaN is farthest.
        ids: [n] distinct, compared as text.
    """
    numbers = distance.astype(np.float64)
    numbers[np.isnan(numbers)] = np.nan  # of positive sign
    names = np.array([name.encode() for name in ids], np.bytes_)
    keys = np.empty(len(ids), [("distance", ">u8"), ("id", names.dtype)])
    keys["distance"], keys["id"] = _ascending_floats(numbers), names
    return keys.view(f"S{keys.dtype.itemsize}")


def random_keys(ids: Iterable[str], rows: NDArray[np.int64], *, seed: int) -> Keys:
    """Policy ``random``: by a hash of seed and id, so no image's draw depends on the others.

    Args:
        ids: n distinct image ids.
        rows: int64 [n], decide between equal hashes.
        seed: another seed, another order.
    """
    return _as_bytes([draw_numbers(ids, seed=seed), rows.astype(np.uint64)])


def _as_bytes(numbers: Sequence[NDArray[np.unsignedinteger]]) -> Keys:
    """Fixed-width bytes [n] that sort as the numbers do, the first number first."""
    words = np.stack(numbers, axis=1).astype(">u8")
    return words.view(f"S{8 * len(numbers)}").reshape(-1)


def _ascending_floats(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """uint64 [n] that sort as the values do, -0.0 as 0.0."""
    bits = (values + 0.0).view(np.uint64)
    return np.where(bits >> np.uint64(63), ~bits, bits | np.uint64(2**63))


def _ascending_integers(values: NDArray[np.int64]) -> NDArray[np.uint64]:
    """uint64 [n] that sort as the values do."""
    return values.view(np.uint64) ^ np.uint64(2**63)
