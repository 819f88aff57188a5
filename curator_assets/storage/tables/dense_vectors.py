"""The embeddings of the images whose pairs are not listed."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables.pair_tables import RowNumbers
from curator_assets.storage.tables.parquet import embedding_matrix, read_table


class DenseVectors:
    """The embeddings of a few samples, by row number, read when the first is asked for.

    Args:
        store: where the embeddings lie.
        numbers: the row numbers of all samples.
        rows: int64, ascending, the rows that may be asked for.
    """

    def __init__(self, store: Store, numbers: RowNumbers, rows: np.ndarray) -> None:
        self._store, self._numbers, self._rows = store, numbers, rows

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """float32 [n, D] of the given rows."""
        return self._matrix[np.searchsorted(self._rows, rows)]

    @cached_property
    def _matrix(self) -> np.ndarray:
        parts = []
        for shard, rows in self._numbers.by_shard(self._rows):
            table = read_table(self._store, layout.embeddings(shard), ["embedding"])
            matrix, readable = embedding_matrix(table)
            wanted = rows - self._numbers.rows_of(shard).start
            parts.append(matrix[np.searchsorted(readable, wanted)])
        return np.concatenate(parts)
