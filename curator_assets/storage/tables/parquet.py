"""Parquet tables in and out of the store.

Pages carry a checksum and a table that of its columns, which readers look at: a changed byte is an
error, not another value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curator_assets.errors import DamagedFileError, UserError
from curator_assets.storage.store import Store
from curator_assets.storage.versions import stored_files

ROW_GROUP_ROWS = 4096
"""13 MB of embeddings of width 768: what a reader of single rows has to read."""

_FORMAT: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
_COLUMNS_HASH = b"columns_sha256"
_EMBEDDING, _EMBEDDING_PATH = "embedding", "embedding.list.element"


def write_table(store: Store, name: str, table: pa.Table, schema: pa.Schema) -> None:
    """Write `table` as zstd Parquet, whole or not at all; equal tables give equal bytes.

    Raises:
        KeyError: a column is missing.
        ValueError: a required column holds nulls, or one can't be cast to `schema`.
    """
    with store.write(name) as file:
        pq.write_table(_conformed(name, table, schema), file, **_format(schema))


class TableWriter:
    """A table that is written part by part to an open file, in row groups of a fixed size.

    So equal rows give equal bytes, however they are cut into parts. Leaving its context ends the
    file.

    Args:
        file: to write to.
        name: of the table, for errors.
        schema: its columns.
        row_group_rows: rows of a row group.
    """

    def __init__(
        self,
        file: IO[bytes],
        name: str,
        schema: pa.Schema,
        row_group_rows: int = ROW_GROUP_ROWS,
    ) -> None:
        self._name, self._schema, self._size = name, schema, row_group_rows
        self._writer = pq.ParquetWriter(file, _hashed(schema), **_format(schema))
        self._held = list[pa.Table]()
        self._n_held = 0

    def append(self, part: pa.Table) -> None:
        """Add rows.

        Raises:
            KeyError: a column is missing.
            ValueError: a required column holds nulls, or one can't be cast to the schema.
        """
        self._held.append(_conformed(self._name, part, self._schema))
        self._n_held += len(part)
        while self._n_held >= self._size:
            held = pa.concat_tables(self._held)
            self._write(held.slice(0, self._size))
            self._held = [held.slice(self._size)]
            self._n_held -= self._size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            held = pa.concat_tables([_hashed(self._schema).empty_table(), *self._held])
            self._write(held)
            self._writer.close()
            return
        with suppress(OSError):  # the file is given up: what went wrong before is what counts
            self._writer.close()

    def _write(self, rows: pa.Table) -> None:
        """A row group, which has one dictionary a column: in Parquet as well."""
        self._writer.write_table(rows.unify_dictionaries(), self._size)


def _format(schema: pa.Schema) -> dict[str, Any]:
    """How a table of these columns is written.

    For lists of numbers no dictionary is tried, which would hold every number. Of embeddings the
    first bytes of all numbers lie together, then the second bytes, and so on: signs and exponents
    compress.
    """
    others = [field.name for field in schema if not pa.types.is_fixed_size_list(field.type)]
    split = [_EMBEDDING_PATH] if _EMBEDDING in schema.names else []
    return {**_FORMAT, "use_dictionary": others, "use_byte_stream_split": split}


def _conformed(name: str, table: pa.Table, schema: pa.Schema) -> pa.Table:
    table = table.select(schema.names)
    for field, column in zip(schema, table.columns, strict=True):
        if not field.nullable and column.null_count:
            raise ValueError(f"{name}: column {field.name!r} holds {column.null_count} nulls")
    return table.cast(_hashed(schema))


def _hashed(schema: pa.Schema) -> pa.Schema:
    return schema.with_metadata({_COLUMNS_HASH: _columns_hash(schema)})


def _columns_hash(schema: pa.Schema) -> bytes:
    """Of names and types; what Arrow calls the elements of a list changes on its way."""
    told = str([(f.name, str(f.type).replace("<element:", "<item:"), f.nullable) for f in schema])
    return hashlib.sha256(told.encode()).hexdigest().encode()


def read_row_groups(
    store: Store, name: str, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """The table called `name`, or some columns of it, a row group at a time; at least one part.

    Raises:
        FileNotFoundError: there is none.
        DamagedFileError: it is no table with these columns.
    """
    with _opened(store, name, columns) as (parquet, wanted):
        if not parquet.num_row_groups:
            yield parquet.read(columns=wanted)
        for i in range(parquet.num_row_groups):
            yield parquet.read_row_group(i, columns=wanted)


def read_row_group(store: Store, name: str, number: int) -> pa.Table:
    """One row group of the table called `name`.

    Raises:
        FileNotFoundError: there is none.
        DamagedFileError: it is no table with that many.
    """
    with _opened(store, name) as (parquet, _):
        return parquet.read_row_group(number)


def read_table(store: Store, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The table called `name`, or some columns of it.

    Raises:
        FileNotFoundError: there is none.
        DamagedFileError: it is no table with these columns.
    """
    with _opened(store, name, columns) as (parquet, wanted):
        return parquet.read(columns=wanted)


def read_rows(
    store: Store, name: str, sha256: str, rows: np.ndarray, columns: Sequence[str]
) -> pa.Table:
    """Some rows of the table called `name`, read by the row groups that they lie in.

    All of it is read and hashed, once a process as long as it stays as it is.

    Args:
        store: where the table lies.
        name: its name.
        sha256: of the file as it was recorded, in hex.
        rows: int64 [N], ascending; those beyond the table's end are left out.
        columns: to be read.

    Raises:
        FileNotFoundError: there is none.
        DamagedFileError: it is another file, or has not these columns.
    """
    with _opened(store, name, columns) as (parquet, wanted):
        if stored_files(store, [name])[name].sha256 != sha256:
            raise ValueError("it is not the file that was recorded")
        sizes = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
        ends = np.cumsum(sizes)
        rows = rows[rows < parquet.metadata.num_rows]
        groups = np.searchsorted(ends, rows, "right")
        parts = [parquet.schema_arrow.empty_table().select(columns)]
        for group in np.unique(groups).tolist():
            part = parquet.read_row_group(group, columns=wanted)
            parts.append(part.take(pa.array(rows[groups == group] - (ends[group] - sizes[group]))))
    return pa.concat_tables(parts)


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

    Raises:
        DamagedFileError: it is no table with these columns.
    """
    try:
        parts = read_row_groups(store, name, columns)
        return [row for part in parts for row in part.filter(where).to_pylist()]
    except FileNotFoundError:
        return []


def matching_rows(
    store: Store, name: str, column: str, values: pa.Array, columns: Sequence[str]
) -> pa.Table:
    """Some columns of the rows of the table called `name` with one of some values.

    Of row groups without any no more is read than the column of the values.

    Raises:
        FileNotFoundError: there is none.
        DamagedFileError: it is no table with these columns.
    """
    with _opened(store, name, [column, *columns]) as (parquet, _):
        parts = [parquet.schema_arrow.empty_table().select(columns)]
        for i in range(parquet.num_row_groups):
            matches = pc.is_in(parquet.read_row_group(i, columns=[column])[column], values)
            if pc.any(matches).as_py():
                group = parquet.read_row_group(i, columns=list(columns))
                parts.append(group.filter(matches))
    return pa.concat_tables(parts)


@contextmanager
def _opened(
    store: Store, name: str, columns: Sequence[str] | None = None
) -> Iterator[tuple[pq.ParquetFile, list[str] | None]]:
    """A table, open for reading, and the columns that are wanted of it.

    Not by `pq.read_table`, and a local one by its path: Arrow's threads may else hold a Python
    file for longer than the call, and abort a process that ends right after it.
    """
    wanted = list(columns) if columns is not None else None
    with named_damage(store, name), ExitStack() as stack:
        file = store.path(name) if store.is_local else stack.enter_context(store.open(name))
        parquet = stack.enter_context(
            pq.ParquetFile(file, pre_buffer=True, page_checksum_verification=True)
        )
        schema = parquet.schema_arrow
        for column in sorted({*(wanted or ())} - {*schema.names}):
            raise ValueError(f"it has no column {column!r}")
        columns_hash = _columns_hash(schema)
        if (schema.metadata or {}).get(_COLUMNS_HASH, columns_hash) != columns_hash:
            raise ValueError("its columns are not those that were written")
        yield parquet, wanted


@contextmanager
def named_damage(store: Store, name: str) -> Iterator[None]:
    """Whatever a reader of the file called `name` raises about its content, by that name.

    Raises:
        FileNotFoundError: there is none.
        OSError: storage failed.
        UserError: it can't be asked; a DamagedFileError: what it holds can't be read.
    """
    try:
        yield
    except OSError as error:
        if type(error) is not OSError or error.errno is not None:
            raise
        raise _damaged(store, name, error) from error  # Arrow's word for damage
    except UserError:
        raise
    except Exception as error:  # a damaged file makes its reader raise whatever it may
        raise _damaged(store, name, error) from error


def _damaged(store: Store, name: str, error: Exception) -> DamagedFileError:
    why = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return DamagedFileError(name, store.url(name), why)


def count_rows(store: Store, name: str) -> int:
    """The number of rows of the table called `name`, without reading them.

    Raises:
        FileNotFoundError: there is none.
        DamagedFileError: it is no table.
    """
    with _opened(store, name) as (parquet, _):
        return int(parquet.metadata.num_rows)


def embedding_matrix(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """The embeddings of a table of `image_embeddings`, unreadable rows left out.

    Returns:
        float32 [N, D], unit norm; and int64 [N], the row of the table that each came from.
    """
    stored, rows = stored_embeddings(table)
    return unit_rows(stored), rows


def stored_embeddings(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """The embeddings as they are stored, float32 or float16 [N, D], and int64 [N], their rows."""
    column = table["embedding"].combine_chunks()
    rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    stored = np.array(column.drop_null().flatten())  # a copy: Arrow's own memory is read-only
    return stored.reshape(len(rows), column.type.list_size), rows


def unit_rows(stored: np.ndarray) -> np.ndarray:
    """float32 [N, D], unit norm, of embeddings as they are stored."""
    matrix: np.ndarray = stored.astype(np.float32, copy=False)
    if stored.dtype == np.float16:
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)  # rounding took it off unit norm
    return matrix


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
