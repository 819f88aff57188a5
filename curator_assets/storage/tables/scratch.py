"""All embeddings side by side, for the length of one search."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property

import numpy as np

from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables.pair_tables import RowNumbers
from curator_assets.storage.tables.parquet import embedding_matrix, read_table


@contextmanager
def all_embeddings(
    store: Store, shards: Iterable[str], n_images: int, width: int
) -> Iterator[np.ndarray]:
    """The embeddings of some shards one after another, unreadable samples left out.

    The space is taken before it is written to: a disk that fills up under a mapped file would
    kill the process without a word. The file has no name, so nothing is left of it when the process
    is killed.

    Args:
        store: where the embeddings lie.
        shards: in this order.
        n_images: N, how many embeddings they hold together.
        width: D.

    Yields:
        float32 [N, D], mapped from a temporary file, so that the page cache bounds its memory.

    Raises:
        OSError: the disk has no room for N x D x 4 bytes.
    """
    folder, n_bytes = store.root if store.is_local else tempfile.gettempdir(), n_images * width * 4
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, max(n_bytes, 1))
        except OSError as error:
            raise OSError(
                error.errno, f"{error.strerror}: the search needs {n_bytes:,} bytes", folder
            ) from None
        shape, start = (n_images, width), 0
        matrix = np.memmap(file, np.float32, "r+", shape=shape) if n_images else np.empty(shape)
        for shard in shards:
            table = read_table(store, layout.embeddings(shard), ["embedding"])
            block, _ = embedding_matrix(table)
            matrix[start : start + len(block)] = block
            start += len(block)
        yield matrix
        del matrix


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
        for shard in self._numbers.shards:
            span = self._numbers.rows_of(shard)
            first, last = np.searchsorted(self._rows, [span.start, span.stop])
            if first < last:
                table = read_table(self._store, layout.embeddings(shard), ["embedding"])
                matrix, readable = embedding_matrix(table)
                wanted = self._rows[first:last] - span.start
                parts.append(matrix[np.searchsorted(readable, wanted)])
        return np.concatenate(parts)
