"""What a row of `image_embeddings` says of the bytes of its image, and the columns made of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from curator_assets.kernels.image_format import DecodeError
from curator_assets.storage.shards.tars import Sample
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.parquet import embedding_column

if TYPE_CHECKING:
    from curator_assets.kernels.decode import DecodedBatch

NO_IMAGE = "no image"
"""`error` of a sample none of whose members is an image; the decoder has the other reasons."""

TOO_MANY_BYTES = "too many bytes"
"""`error` of an image file above `MAX_IMAGE_BYTES`, which is not read."""

NOT_OF_THE_BYTES = frozenset({DecodeError.CRASHED, DecodeError.HUNG, DecodeError.OUT_OF_MEMORY})
"""Errors that another try may not meet again."""

STATISTICS = (
    "width",
    "height",
    "aspect_ratio",
    "mean_luminance",
    "sharpness",
    "constant_rows_fraction",
    "has_alpha",
)
"""Columns of what is measured on an image; null where there is none."""

STORED = ("content_hash", "error", "format", "embedding", *STATISTICS)
"""Columns of what is said of an image's bytes."""


@dataclass(slots=True, eq=False)
class ImageRow:
    """What is said of an image: of every sample with these bytes.

    Attributes:
        content_hash: of the image; empty if there is none.
        is_complete: all of it is known.
        was_decoded: the image was decoded for it, not found in what is stored.
        was_encoded: it was shown to the model.
        again_on_cpu: a GPU's decoder gave up on the image, and the CPU's read it.
        is_lost: the image can't be read any more.
        error: why there is no embedding; None if there is one.
        format: by the image's first bytes.
        statistics: a value for each of `STATISTICS`; None if there is no embedding.
        embedding: float32 or float16 [D], unit L2 norm.
    """

    content_hash: str = ""
    is_complete: bool = False
    was_decoded: bool = False
    was_encoded: bool = False
    again_on_cpu: bool = False
    is_lost: bool = False
    error: str | None = None
    format: str | None = None
    statistics: Sequence[Any] | None = None
    embedding: np.ndarray | None = None

    @property
    def may_be_shared(self) -> bool:
        """Whether another image of the same bytes is sure to have the same."""
        return self.error not in NOT_OF_THE_BYTES


def take_decoded(rows: Sequence[ImageRow], decoded: "DecodedBatch") -> list[ImageRow]:
    """Fill in rows with what a decoder made of their images; those that lack an embedding still."""
    aspect_ratio = (decoded.width / np.maximum(decoded.height, 1)).astype(np.float32)
    columns = [
        (aspect_ratio if name == "aspect_ratio" else getattr(decoded, name)).tolist()
        for name in STATISTICS
    ]
    for i, row in enumerate(rows):
        row.was_decoded, row.again_on_cpu = True, bool(decoded.again_on_cpu[i])
        row.error, row.format = decoded.errors[i], decoded.format[i]
        if row.error is None:
            row.statistics = [column[i] for column in columns]
        else:
            row.is_complete = True
    return [rows[i] for i in decoded.ok.tolist()]


def take_stored(rows: Sequence[ImageRow], table: pa.Table) -> list[int]:
    """Fill in rows with those of a table; the places of those that are of other images."""
    values = table.select([name for name in STORED if name != "embedding"]).to_pydict()
    column = table["embedding"].combine_chunks()
    is_there = column.is_valid().to_numpy(zero_copy_only=False)
    stored = np.array(column.drop_null().flatten()).reshape(-1, column.type.list_size)
    at, others = np.cumsum(is_there) - 1, []
    for i, row in enumerate(rows):
        error = values["error"][i]
        if values["content_hash"][i] != row.content_hash or error in NOT_OF_THE_BYTES:
            others.append(i)
            continue
        row.error, row.format = error, values["format"][i]
        if error is None:
            row.statistics = [values[name][i] for name in STATISTICS]
            row.embedding = stored[at[i]]
        row.is_complete = True
    return others


def tar_columns(samples: Sequence[Sample], shard: str) -> dict[str, pa.Array]:
    """What the tar says of each sample."""
    images = [sample.image for sample in samples]
    return {
        "image_id": pa.array([f"{shard}/{sample.key}" for sample in samples], pa.string()),
        "shard": pa.array([shard] * len(samples), pa.string()),
        "key": pa.array([sample.key for sample in samples], pa.string()),
        "position": pa.array([sample.position for sample in samples], pa.int32()),
        "ext": pa.array([image.ext if image else None for image in images], pa.string()),
        "n_images": pa.array([sample.n_images for sample in samples], pa.int32()),
        "n_bytes": pa.array([image.n_bytes if image else 0 for image in images], pa.int64()),
        "content_hash": pa.array(
            [image.content_hash if image else None for image in images], pa.string()
        ),
    }


def image_columns(rows: Sequence[ImageRow], width: int, storage: str) -> dict[str, pa.Array]:
    """What is said of the image of each sample.

    Args:
        rows: one a sample.
        width: D, of an embedding.
        storage: the type that embeddings are stored in, `float32` or `float16`.
    """
    types = {field.name: field.type for field in schemas.embeddings(width, storage)}
    statistics = [row.statistics or [None] * len(STATISTICS) for row in rows]
    columns = {
        name: pa.array([values[i] for values in statistics], types[name])
        for i, name in enumerate(STATISTICS)
    }
    for name in ("format", "error"):
        columns[name] = pa.array([getattr(row, name) for row in rows], pa.string())
    found = [(i, row.embedding) for i, row in enumerate(rows) if row.embedding is not None]
    matrix = np.stack([np.zeros(width, storage), *(embedding for _, embedding in found)])[1:]
    at = np.array([i for i, _ in found], np.int64)
    columns["embedding"] = embedding_column(matrix, at, len(rows), storage)
    return columns
