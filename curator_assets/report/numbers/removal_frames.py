"""The removed images and those that only a larger eps removes, some shards at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from itertools import groupby
from operator import itemgetter

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from curator_assets.kernels.draws import draw_numbers
from curator_assets.report.numbers.cosine_bands import Band, band_of
from curator_assets.report.numbers.shard_frames import as_frame
from curator_assets.storage.tables.pair_tables import RowNumbers

Removals = Iterable[tuple[str, pa.Table]]
"""Shard and its rows of `duplicate_groups`; the shards in order of arrival."""

REMOVED: Mapping[str, type[pl.DataType]] = {
    "shard": pl.String,
    "position": pl.Int32,
    "id": pl.String,
    "kept_id": pl.String,
    "cosine": pl.Float32,
    "kept_shard": pl.String,
    "kept_position": pl.Int32,
    "kept_row": pl.Int64,
}
"""Columns of `removal_frames`: those of `duplicate_groups`, and the kept image's row number."""

BANDED: Mapping[str, type[pl.DataType]] = {
    **REMOVED,
    "removed": pl.Boolean,
    "band": pl.Int64,
    "draw": pl.UInt64,
}
"""Columns of `banded_frames`. The pairs of lowest draws are a seeded sample that is stable when
others come or go."""

_FRAME_ROWS = 50_000  # looking at a frame takes as long as at so many rows of it


def removal_frames(removals: Removals, numbers: RowNumbers) -> Iterator[pl.DataFrame]:
    """The removed images, small shards together, one frame in memory at a time."""
    for removed, _ in _together(removals, (), numbers):
        yield _frame(removed, numbers)


def banded_frames(
    removals: Removals,
    beyond: Removals,
    numbers: RowNumbers,
    *,
    bands: list[Band],
    eps: float,
    seed: int,
) -> Iterator[pl.DataFrame]:
    """The removed images and those that only a larger eps removes, as above.

    Args:
        removals: at the chosen eps.
        beyond: at `max_eps`.
        numbers: of the rows of all shards.
        bands: of the settings.
        eps: the chosen one.
        seed: of the draws.
    """
    farther = pl.col("cosine") < float(np.float32(1 - eps))
    for tables, tables_beyond in _together(removals, beyond, numbers):
        removed = _frame(tables, numbers)
        others = _frame(tables_beyond, numbers).filter(farther)
        others = others.join(removed, on="id", how="anti", maintain_order="left")
        pairs = pl.concat(
            [
                removed.with_columns(removed=pl.lit(True)),
                others.with_columns(removed=pl.lit(False)),
            ]
        )
        names = (f"{row[0]}\n{row[1]}" for row in pairs.select("id", "kept_id").iter_rows())
        yield pairs.with_columns(
            band=pl.Series(band_of(pairs["cosine"].to_numpy(), bands)),
            draw=pl.Series(draw_numbers(names, seed=seed)),
        )


def _together(
    removals: Removals, beyond: Removals, numbers: RowNumbers
) -> Iterator[tuple[list[pa.Table], list[pa.Table]]]:
    """The tables of both streams for some shards at a time, the same ones of both."""
    held, held_beyond, n_rows = list[pa.Table](), list[pa.Table](), 0
    streams = _ranked(removals, held, numbers), _ranked(beyond, held_beyond, numbers)
    for _, of_shard in groupby(merge(*streams, key=itemgetter(0)), key=itemgetter(0)):
        for _, table, to in of_shard:
            to.append(table)
            n_rows += len(table)
        if n_rows >= _FRAME_ROWS:
            yield held, held_beyond
            n_rows = 0
            held.clear()
            held_beyond.clear()
    if held or held_beyond:
        yield held, held_beyond


def _ranked(
    removals: Removals, to: list[pa.Table], numbers: RowNumbers
) -> Iterator[tuple[int, pa.Table, list[pa.Table]]]:
    """The tables by where their shards begin.

    Raises:
        ValueError: the shards do not come in order of arrival.
    """
    last = -1
    for shard, table in removals:
        start = numbers.rows_of(shard).start
        if start < last:
            raise ValueError(f"duplicates of {shard!r} come after those of a shard that came later")
        last = start
        yield start, table, to


def _frame(tables: list[pa.Table], numbers: RowNumbers) -> pl.DataFrame:
    """The tables as one frame, shards as text, with `kept_row`."""
    if not tables:
        return pl.DataFrame(schema=REMOVED)
    table = pa.concat_tables(tables)
    starts = pa.chunked_array(
        [
            np.array([numbers.rows_of(shard).start for shard in names.to_pylist()])[index]
            for names, index in _used_names(table["kept_shard"])
        ],
        pa.int64(),
    )
    for column in ("shard", "kept_shard"):
        parts = [names.take(pa.array(index)) for names, index in _used_names(table[column])]
        texts = pa.chunked_array(parts, pa.string())
        table = table.set_column(table.column_names.index(column), column, texts)
    frame = as_frame(table.append_column("kept_row", pc.add(starts, table["kept_position"])))
    return frame.select(list(REMOVED))


def _used_names(column: pa.ChunkedArray) -> Iterator[tuple[pa.StringArray, np.ndarray]]:
    """Of each chunk of shards the names in it, and int64 [n] which of them each row has.

    Of a chunk's own names, which may be those of all shards, only the few in use are looked at.
    """
    for chunk in column.chunks:
        used, index = np.unique(chunk.indices.to_numpy(), return_inverse=True)
        yield chunk.dictionary.take(pa.array(used)).cast(pa.string()), index
