"""All embeddings side by side, for the length of one search."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables import embedding_matrix, read_table


@contextmanager
def all_embeddings(
    store: Store, shards: Iterable[str], n_images: int, width: int
) -> Iterator[np.ndarray]:
    """The embeddings of some shards one after another, unreadable samples left out.

    Args:
        store: where the embeddings lie.
        shards: in this order.
        n_images: N, how many embeddings they hold together.
        width: D.

    Yields:
        float32 [N, D], mapped from a temporary file, so that the page cache bounds its memory.
    """
    folder = store.root if store.is_local else None
    with tempfile.TemporaryDirectory(prefix=".search-", dir=folder) as scratch:
        path, start = Path(scratch) / "embeddings.npy", 0
        matrix = np.lib.format.open_memmap(
            path, mode="w+", dtype=np.float32, shape=(max(n_images, 1), width)
        )
        for shard in shards:
            table = read_table(store, layout.embeddings(shard), ["embedding"])
            block, _ = embedding_matrix(table)
            matrix[start : start + len(block)] = block
            start += len(block)
        yield matrix[:n_images]
        del matrix
