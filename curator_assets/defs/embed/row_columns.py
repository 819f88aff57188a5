"""The columns of `image_embeddings`: what the tar says of samples, and what their images show."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from curator_assets.kernels.image_format import sniff_format
from curator_assets.storage.shards.tars import Sample

if TYPE_CHECKING:
    from curator_assets.kernels.decode import DecodedBatch

NO_IMAGE = "no image"
"""`error` of a sample none of whose members is an image; the decoder has the other reasons."""

TOO_MANY_BYTES = "too many bytes"
"""`error` of an image file above `MAX_IMAGE_BYTES`, which is not read."""


def tar_columns(samples: list[Sample]) -> dict[str, pa.Array]:
    """What the tar says of each sample."""
    images = [sample.image for sample in samples]
    return {
        "key": pa.array([sample.key for sample in samples], pa.string()),
        "position": pa.array([sample.position for sample in samples], pa.int32()),
        "ext": pa.array([image.ext if image else None for image in images], pa.string()),
        "n_images": pa.array([sample.n_images for sample in samples], pa.int32()),
        "n_bytes": pa.array([image.n_bytes if image else 0 for image in images], pa.int64()),
        "content_hash": pa.array(
            [image.content_hash if image else None for image in images], pa.string()
        ),
    }


def image_columns(
    decoded: "DecodedBatch", at: np.ndarray, samples: list[Sample], blamed: Mapping[str, str]
) -> dict[str, pa.Array]:
    """Statistics of the decoded images spread over a batch's rows, null where there is none."""
    n_rows = len(samples)
    error: list[str | None] = [_why_not_decoded(sample, blamed) for sample in samples]
    files = [sample.image.data if sample.image else None for sample in samples]
    image_format = [None if data is None else sniff_format(data) for data in files]
    for i, row in enumerate(at.tolist()):
        error[row], image_format[row] = decoded.errors[i], decoded.format[i]
    missing = np.ones(n_rows, dtype=bool)
    missing[at[decoded.ok]] = False

    def spread(values: np.ndarray) -> pa.Array:
        column = np.zeros(n_rows, dtype=values.dtype)
        column[at] = values
        return pa.array(column, mask=missing)

    aspect_ratio = decoded.width / np.maximum(decoded.height, 1)
    return {
        "width": spread(decoded.width),
        "height": spread(decoded.height),
        "aspect_ratio": spread(aspect_ratio.astype(np.float32)),
        "mean_luminance": spread(decoded.mean_luminance),
        "sharpness": spread(decoded.sharpness),
        "constant_rows_fraction": spread(decoded.constant_rows_fraction),
        "has_alpha": spread(decoded.has_alpha),
        "format": pa.array(image_format, pa.string()),
        "error": pa.array(error, pa.string()),
    }


def _why_not_decoded(sample: Sample, blamed: Mapping[str, str]) -> str:
    if sample.image is None:
        return NO_IMAGE
    return blamed.get(sample.image.content_hash, TOO_MANY_BYTES)


def named(rows: pa.Table, shard: str) -> pa.Table:
    """The rows with the columns that name their shard."""
    ids = [f"{shard}/{key}" for key in rows["key"].to_pylist()]
    return rows.append_column("shard", pa.array([shard] * len(rows), pa.string())).append_column(
        "image_id", pa.array(ids, pa.string())
    )
