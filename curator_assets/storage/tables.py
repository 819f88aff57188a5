"""Parquet tables in and out of the store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
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
    with store.open(name) as file:
        return pq.read_table(file, columns=list(columns) if columns is not None else None)


def read_schema(store: Store, name: str) -> pa.Schema:
    """The columns of the table called `name`, without its rows."""
    with store.open(name) as file:
        return pq.read_schema(file)


def count_rows(store: Store, name: str) -> int:
    """The number of rows of the table called `name`, without reading them."""
    with store.open(name) as file:
        return int(pq.read_metadata(file).num_rows)


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
