"""The stored tables of the shards as frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl
import pyarrow as pa

from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables.parquet import read_table

UNKNOWN = "unknown"
NO_FOLDER = "(top)"
SIZES = {"< 0.1 MP": 0, "0.1-0.5 MP": 1e5, "0.5-2 MP": 5e5, "> 2 MP": 2e6}
"""Size class -> pixels from which it begins."""

_FRAME_ROWS = 20_000  # looking at a frame takes as long as at so many rows of it

_OF_EMBEDDINGS = ["position", "width", "height", "n_bytes", "format", "content_hash", "error"]


def score_columns(settings: Settings) -> tuple[str, ...]:
    """The columns that a rule names, in the order of the rules, then all other heads."""
    return tuple(dict.fromkeys([*(rule.score for rule in settings.filters), *settings.heads]))


def frames(store: Store, shards: Sequence[str], settings: Settings) -> Iterator[pl.DataFrame]:
    """The frames of the shards in their order, small shards together, one in memory at a time."""
    held, n_rows = list[pl.DataFrame](), 0
    for shard in shards:
        held.append(shard_frame(store, shard, settings))
        n_rows += len(held[-1])
        if n_rows >= _FRAME_ROWS:
            yield pl.concat(held, how="vertical_relaxed")
            held, n_rows = [], 0
    if held:
        yield pl.concat(held, how="vertical_relaxed")


def shard_frame(store: Store, shard: str, settings: Settings) -> pl.DataFrame:
    """One row a sample, in the order of the tar.

    Columns: shard, position, image_id, verdict, reason (null for what is kept and for duplicates),
    readable, width, height, n_bytes, format, size, folder, content_hash, cell (null without an
    embedding), and `score:<name>` float64 for each of `score_columns`.
    """
    scores = score_columns(settings)
    table = layout.curated_table(shard)
    curated = _frame(store, table, list({"image_id", "verdict", "reason", *scores}))
    embedded = _frame(store, layout.embeddings(shard), _OF_EMBEDDINGS)
    try:
        cells = _frame(store, layout.assignments(shard), ["position", "cell"])
    except FileNotFoundError:  # not assigned to cells yet
        cells = pl.DataFrame(schema={"position": pl.Int32, "cell": pl.Int32})
    frame = embedded.with_columns(
        curated["image_id"],
        curated["verdict"],
        pl.when(curated["verdict"] != "duplicate").then(curated["reason"]).alias("reason"),
        *(curated[score].alias(f"score:{score}") for score in scores),
        pl.lit(shard).alias("shard"),
        pl.lit(shard.rpartition("/")[0] or NO_FOLDER).alias("folder"),
        pl.col("error").is_null().alias("readable"),
        pl.col("format").fill_null(UNKNOWN),
        size_class().alias("size"),
    )
    return frame.join(cells, on="position", how="left", maintain_order="left").drop("error")


def size_class() -> pl.Expr:
    """The size class of each row by its width and height."""
    pixels = pl.col("width").cast(pl.Int64) * pl.col("height")
    classes = pl.lit(UNKNOWN)
    for name, least in SIZES.items():
        classes = pl.when(pixels >= least).then(pl.lit(name)).otherwise(classes)
    return classes


def as_frame(table: pa.Table) -> pl.DataFrame:
    """An Arrow table as a frame."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _frame(store: Store, name: str, columns: list[str]) -> pl.DataFrame:
    return as_frame(read_table(store, name, columns))
