"""The stored tables of the shards as frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import polars as pl
import pyarrow as pa

from curator_assets.kernels.ahead import begun_ahead
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.parquet import read_table

UNKNOWN = "unknown"
NO_FOLDER = "(top)"
SIZES = {"< 0.1 MP": 0, "0.1-0.5 MP": 1e5, "0.5-2 MP": 5e5, "> 2 MP": 2e6}
"""Size class -> pixels from which it begins."""

_FRAME_ROWS = 20_000  # looking at a frame takes as long as at so many rows of it
_N_READERS = 4  # storage takes its time to answer, where it is not on this machine

Read = TypeVar("Read")

_OF_CELLS = pa.schema([schemas.ASSIGNMENTS.field("position"), schemas.ASSIGNMENTS.field("cell")])
_OF_EMBEDDINGS = ["position", "width", "height", "n_bytes", "format", "content_hash", "error"]


def score_columns(settings: Settings) -> tuple[str, ...]:
    """The columns that a rule names, in the order of the rules, then all other heads."""
    return tuple(dict.fromkeys([*(rule.score for rule in settings.filters), *settings.heads]))


def frames(store: Store, shards: Sequence[str], settings: Settings) -> Iterator[pl.DataFrame]:
    """One row a sample, shards in their order, small ones together, one frame in memory at a time.

    Columns: shard, position, image_id, verdict, reason (null for what is kept and for duplicates),
    readable, width, height, n_bytes, format, size, folder, content_hash, cell (null without an
    embedding), and `score:<name>` float64 for each of `score_columns`.
    """
    scores, held, n_rows = score_columns(settings), list[_Tables](), 0
    for tables in read_ahead(shards, partial(_read, store, scores)):
        held.append(tables)
        n_rows += len(tables.embedded)
        if n_rows >= _FRAME_ROWS:
            yield _frame(held, scores)
            held, n_rows = [], 0
    if held:
        yield _frame(held, scores)


def read_ahead(shards: Iterable[str], read: Callable[[str], Read]) -> Iterator[Read]:
    """What is read of each shard, in order; some are read ahead, in threads."""
    with ThreadPoolExecutor(_N_READERS, "read tables") as pool:
        for _, begun in begun_ahead(shards, lambda shard: pool.submit(read, shard), _N_READERS):
            yield begun.result()


@dataclass(frozen=True)
class _Tables:
    """The tables of a shard; `cells` have just position and cell."""

    shard: str
    curated: pa.Table
    embedded: pa.Table
    cells: pa.Table


def _read(store: Store, scores: tuple[str, ...], shard: str) -> _Tables:
    columns = sorted({"image_id", "verdict", "reason", *scores})
    curated = read_table(store, layout.curated_table(shard), columns)
    embedded = read_table(store, layout.embeddings(shard), _OF_EMBEDDINGS)
    try:
        cells = read_table(store, layout.assignments(shard), _OF_CELLS.names)
    except FileNotFoundError:  # not assigned to cells yet
        cells = _OF_CELLS.empty_table()
    return _Tables(shard, curated, embedded, cells)


def _frame(tables: Sequence[_Tables], scores: tuple[str, ...]) -> pl.DataFrame:
    """The shards together: a frame takes a while, however small it is."""
    sizes = [len(one.embedded) for one in tables]
    starts = np.cumsum([0, *sizes[:-1]])
    cell = np.full(sum(sizes), -1, np.int32)
    for one, start in zip(tables, starts.tolist(), strict=True):
        cell[start + one.cells["position"].to_numpy()] = one.cells["cell"].to_numpy()
    folders = [one.shard.rpartition("/")[0] or NO_FOLDER for one in tables]
    index = np.repeat(np.arange(len(tables)), sizes)
    curated = as_frame(pa.concat_tables([one.curated for one in tables]))
    embedded = as_frame(pa.concat_tables([one.embedded for one in tables]))
    return embedded.select(
        pl.exclude("error"),
        curated["image_id"],
        curated["verdict"],
        pl.when(curated["verdict"] != "duplicate").then(curated["reason"]).alias("reason"),
        *(curated[score].alias(f"score:{score}") for score in scores),
        pl.Series("shard", [one.shard for one in tables])[index],
        pl.Series("folder", folders)[index],
        pl.col("error").is_null().alias("readable"),
        size_class().alias("size"),
        pl.Series("cell", cell).replace(-1, None),
    ).with_columns(pl.col("format").fill_null(UNKNOWN))


def size_class() -> pl.Expr:
    """The size class of each row by its width and height."""
    pixels = pl.col("width").cast(pl.Int64) * pl.col("height")
    classes = pl.lit(UNKNOWN)
    for name, least in SIZES.items():
        classes = pl.when(pixels >= least).then(pl.lit(name)).otherwise(classes)
    return classes


def copied(frame: pl.DataFrame) -> pl.DataFrame:
    """The same few rows by themselves: else they keep all texts among which theirs were read."""
    return as_frame(frame.to_arrow(compat_level=pl.CompatLevel.oldest()))


def as_frame(table: pa.Table) -> pl.DataFrame:
    """An Arrow table as a frame."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
