"""What the UI shows of an asset beside its events."""

from typing import Any

import dagster as dg
import pyarrow as pa

_MEANINGS = {
    "aspect_ratio": "width / height",
    "cell": "number of the nearest centroid; of a pair, where it was found",
    "centroid_cosine": "to the nearest centroid",
    "constant_rows_fraction": "0-1, share of rows at the bottom each of which has one colour",
    "content_hash": "first 128 bits of the SHA-256 of the image file",
    "cosine": "of the two images' embeddings",
    "embedding": "unit L2 norm; null where the image can't be read",
    "error": "why the image can't be read; null if it can",
    "ext": "of the image member, in lower case",
    "format": "by the first bytes of the image file",
    "has_alpha": "whether some pixel is below opaque",
    "height": "pixels, after EXIF orientation",
    "id": "image id of a duplicate",
    "identical": "equal embeddings: image a was searched for b too",
    "image_id": "the shard, a slash and the key",
    "kept_id": "image id of the kept image that stands for it",
    "kept_position": "of the kept image",
    "kept_shard": "of the kept image",
    "key": "name of the sample's members up to the first dot",
    "mean_luminance": "0-1, of the picture that the model is shown",
    "n": "number of pairs",
    "n_bytes": "size of the image file",
    "n_images": "image members of the sample, of which the one named in ext decides",
    "position": "number of the sample in its tar, from 0",
    "position_a": "of the one image in its tar",
    "position_b": "of the other image in its tar",
    "reason": "of the verdict; null if the sample is kept",
    "shard": "path of the tar below the source, without .tar",
    "shard_a": "of the one image",
    "shard_b": "of the other image",
    "sharpness": "variance of the Laplacian of the picture that the model is shown",
    "transform": "how the copies were altered",
    "verdict": "kept, filtered, duplicate or unreadable",
    "visits": "other cells that could hold a near-duplicate of it",
    "width": "pixels, after EXIF orientation",
}


def column_schema(schema: pa.Schema, others: str | None = None) -> dict[str, Any]:
    """Definition metadata that lists a table's columns on the asset's page.

    Args:
        schema: of the table; the width of a list is not shown, it may be the model's.
        others: meaning of the columns whose names come from settings.
    """
    columns = [
        dg.TableColumn(
            field.name,
            _type(field.type),
            description=_MEANINGS.get(field.name, others),
            constraints=dg.TableColumnConstraints(nullable=field.nullable),
        )
        for field in schema
    ]
    return {"dagster/column_schema": dg.TableSchema(columns)}


def _type(kind: pa.DataType) -> str:
    is_fixed = pa.types.is_fixed_size_list(kind)
    return f"fixed_size_list<{kind.value_type}>" if is_fixed else str(kind)
