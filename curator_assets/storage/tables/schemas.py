"""The columns of every table, written down once."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

_FLOATS = {"float32": pa.float32(), "float16": pa.float16()}
_SAMPLE = (
    pa.field("image_id", pa.string(), nullable=False),
    pa.field("shard", pa.string(), nullable=False),
)


TAR_INDEX = pa.schema(
    [
        pa.field("position", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("n_bytes", pa.int64(), nullable=False),
        pa.field("caption_offset", pa.int64()),
        pa.field("caption_n_bytes", pa.int64()),
    ]
)
"""Where in its tar the image of each sample that has one lies, and its `txt` member, if any."""


def embeddings(embedding_dim: int, storage: str) -> pa.Schema:
    """`image_embeddings`: one row a sample, in the order of the tar.

    `storage` is the type of the embeddings, float32 or float16.

    `embedding` is null, and the statistics with it, where `error` says why there is none.
    """
    return pa.schema(
        [
            *_SAMPLE,
            pa.field("key", pa.string(), nullable=False),
            pa.field("position", pa.int32(), nullable=False),
            pa.field("ext", pa.string()),
            pa.field("n_images", pa.int32(), nullable=False),
            pa.field("embedding", pa.list_(_FLOATS[storage], embedding_dim)),
            pa.field("width", pa.int32()),
            pa.field("height", pa.int32()),
            pa.field("n_bytes", pa.int64(), nullable=False),
            pa.field("content_hash", pa.string()),
            pa.field("format", pa.string()),
            pa.field("aspect_ratio", pa.float32()),
            pa.field("mean_luminance", pa.float32()),
            pa.field("sharpness", pa.float32()),
            pa.field("constant_rows_fraction", pa.float32()),
            pa.field("has_alpha", pa.bool_()),
            pa.field("error", pa.string()),
        ]
    )


def scores(columns: tuple[str, ...]) -> pa.Schema:
    """`filter_scores`: one row a sample, a column a head; null where there is no embedding."""
    return pa.schema([*_SAMPLE, *(pa.field(column, pa.float32()) for column in columns)])


ASSIGNMENTS = pa.schema(
    [
        *_SAMPLE,
        pa.field("position", pa.int32(), nullable=False),
        pa.field("cell", pa.int32(), nullable=False),
        pa.field("centroid_cosine", pa.float32(), nullable=False),
        pa.field("visits", pa.list_(pa.int32()), nullable=False),
    ]
)
"""`cluster_assignments`: one row an embedding; `visits` are the other cells to search."""

_SHARD = pa.dictionary(pa.int32(), pa.string())

PAIRS = pa.schema(
    [
        pa.field("shard_a", _SHARD, nullable=False),
        pa.field("position_a", pa.int32(), nullable=False),
        pa.field("shard_b", _SHARD, nullable=False),
        pa.field("position_b", pa.int32(), nullable=False),
        pa.field("cosine", pa.float32(), nullable=False),
        pa.field("cell", pa.int32(), nullable=False),
        pa.field("identical", pa.bool_(), nullable=False),
    ]
)
"""`near_duplicate_pairs`: (shard, position) names a sample; `identical` rows tie an image to the
one that stands for all with its very embedding, which alone was searched; `cell` is where the two
were compared."""

SEARCHED = pa.schema(
    [
        pa.field("shard", _SHARD, nullable=False),
        pa.field("position", pa.int32(), nullable=False),
        pa.field("key", pa.list_(pa.uint64(), 2), nullable=False),
    ]
)
"""Beside `near_duplicate_pairs`: the images that were compared with each other, of those with one
embedding the first; `key` is equal where embedding, cell and visits are."""

DENSE_MEMBERS = pa.schema(
    [
        pa.field("shard", _SHARD, nullable=False),
        pa.field("position", pa.int32(), nullable=False),
        pa.field("cell", pa.int32(), nullable=False),
        pa.field("resident", pa.bool_(), nullable=False),
    ]
)
"""Beside `near_duplicate_pairs`: where thousands of images lie within max_eps of each other, their
pairs are not listed but compared again when groups are resolved; `resident` is at home in `cell`,
another visits it."""

DUPLICATE_IDS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("kept_id", pa.string(), nullable=False),
        pa.field("cosine", pa.float32(), nullable=False),
    ]
)
"""`duplicate_ids`: an image to remove, the kept one that stands for it, their cosine."""

DUPLICATE_GROUPS = pa.schema(
    [
        pa.field("shard", _SHARD, nullable=False),
        pa.field("position", pa.int32(), nullable=False),
        *DUPLICATE_IDS,
        pa.field("kept_shard", _SHARD, nullable=False),
        pa.field("kept_position", pa.int32(), nullable=False),
    ]
)
"""`duplicate_groups`: `duplicate_ids` of all shards; the rows with one `kept_id` are a group.
(shard, position) says where an image lies: an id alone can be split in more than one way."""


def curated(score_columns: tuple[str, ...]) -> pa.Schema:
    """The table beside a curated tar: one row a sample of the source tar, and its verdict.

    `verdict` is kept, filtered, duplicate or unreadable; `reason` says by what.
    """
    fields = [
        *_SAMPLE,
        pa.field("key", pa.string(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("kept_id", pa.string()),
        pa.field("cosine", pa.float32()),
    ]
    statistics = {
        field.name: pa.float32() if field.type == pa.bool_() else field.type
        for field in embeddings(1, "float32")
    }
    scores = [pa.field(name, statistics.get(name, pa.float32())) for name in score_columns]
    return pa.schema(fields + scores)


CALIBRATION_COSINES = pa.schema(
    [
        pa.field("transform", pa.string(), nullable=False),
        pa.field("image_id", pa.string()),
        pa.field("cosine", pa.float32(), nullable=False),
    ]
)
"""`eps_calibration`: a planted copy's cosine to its original; random pairs have no `image_id`."""


def calibration(quantiles: Iterable[str], eps_grid: Iterable[float]) -> pa.Schema:
    """`eps_calibration`: one row a transform, the last for random pairs of different images.

    `found_at_eps_<eps>` is the share of its pairs that a search at that eps finds.
    """
    numbers = [*quantiles, *(f"found_at_eps_{eps:g}" for eps in eps_grid)]
    return pa.schema(
        [
            pa.field("transform", pa.string(), nullable=False),
            pa.field("n", pa.int64(), nullable=False),
            *(pa.field(name, pa.float64(), nullable=False) for name in numbers),
        ]
    )


LISTING = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("modified", pa.string(), nullable=False),
        pa.field("requested", pa.bool_(), nullable=False),
    ]
)
"""What the sensor saw last; `requested`: a refresh was asked for with the tar as it is here."""
