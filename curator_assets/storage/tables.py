"""Parquet tables in and out of the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curator_assets.storage.store import Store


def write_table(store: Store, name: str, table: pa.Table, schema: pa.Schema) -> None:
    """Write `table` as zstd Parquet, whole or not at all; equal tables give equal bytes.

    Raises:
        KeyError: a column is missing.
        ValueError: a required column holds nulls, or one can't be cast to `schema`.
    """
    table = table.select(schema.names)
    for field, column in zip(schema, table.columns, strict=True):
        if not field.nullable and column.null_count:
            raise ValueError(f"{name}: column {field.name!r} holds {column.null_count} nulls")
    table = table.cast(schema)
    with store.write(name) as file:
        pq.write_table(table, file, compression="zstd")


def read_table(store: Store, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The table called `name`, or some columns of it.

    Raises:
        FileNotFoundError: there is none.
    """
    with _opened(store, name) as parquet:
        return parquet.read(columns=list(columns) if columns is not None else None)


def find_rows(
    store: Store, name: str, where: pc.Expression, columns: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The rows of which `where` is true; at no time is more of the table held than a row group.

    Args:
        store: where the table lies.
        name: its name.
        where: a condition on its columns.
        columns: to be read, those of the condition among them; None for all.

    Returns:
        Column -> value of each row; none if there is no such table.
    """
    found, chosen = list[dict[str, Any]](), list(columns) if columns is not None else None
    try:
        with _opened(store, name) as parquet:
            for i in range(parquet.num_row_groups):
                found += parquet.read_row_group(i, columns=chosen).filter(where).to_pylist()
    except FileNotFoundError:
        return []
    return found


@contextmanager
def _opened(store: Store, name: str) -> Iterator[pq.ParquetFile]:
    """A table, open for reading.

    Not by `pq.read_table`, and a local one by its path: Arrow's threads may else hold a Python
    file for longer than the call, and abort a process that ends right after it.
    """
    if store.is_local:
        with pq.ParquetFile(store.path(name)) as parquet:
            yield parquet
    else:
        with store.open(name) as file:
            yield pq.ParquetFile(file, pre_buffer=True)


def read_schema(store: Store, name: str) -> pa.Schema:
    """The columns of the table called `name`, without its rows."""
    with store.open(name) as file:
        return pq.read_schema(file)


def embedding_matrix(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """The embeddings of a table of `image_embeddings`, unreadable rows left out.

    Returns:
        float32 [N, D], unit norm; and int64 [N], the row of the table that each came from.
    """
    column = table["embedding"].combine_chunks()
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    stored = np.array(column.drop_null().flatten())  # a copy: Arrow's own memory is read-only
    matrix = stored.astype(np.float32, copy=False).reshape(len(rows), column.type.list_size)
    if stored.dtype == np.float16:
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)  # rounding took it off unit norm
    return matrix, rows


def embedding_column(
    embeddings: np.ndarray, rows: np.ndarray, n_rows: int, storage: str
) -> pa.Array:
    """The inverse of `embedding_matrix`: float32 [N, D] spread over `n_rows`, null elsewhere.

    `storage` is the type that they are stored in, float32 or float16.
    """
    width = embeddings.shape[1]
    spread = np.zeros((n_rows, width), dtype=storage)
    spread[rows] = embeddings
    missing = np.ones(n_rows, dtype=bool)
    missing[rows] = False
    return pa.FixedSizeListArray.from_arrays(
        pa.array(spread.reshape(-1)), list_size=width, mask=pa.array(missing)
    )
