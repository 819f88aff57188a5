"""The rows of a Parquet file that holds image bytes, each as a sample.

The image's bytes are in a binary column, or in a struct with a field `bytes` as in datasets of the
Hugging Face hub. A column of text named caption, text or txt becomes the caption; what else a row
holds becomes JSON.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curator_assets.kernels.image_format import sniff_format
from curator_assets.packing.packable import Packable, PackError, safe_key

_CAPTIONS = ("caption", "text", "txt")
_EXTENSIONS = {"jpeg": "jpg", "jpeg2000": "jp2", "tiff": "tif"}
_BATCH_ROWS = 64


def packable_rows(root: Path, path: Path, packed: Collection[str]) -> Iterator[Packable]:
    """The rows of a file as samples, in order; groups of rows that are all packed are not read.

    Raises:
        PackError: it is no Parquet file, or no column holds images; says which columns it has.
    """
    stem = safe_key(path.relative_to(root).with_suffix("").as_posix())
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise PackError(f"{path} can't be read as Parquet: {error}") from None
    with file:
        image, caption = _image_column(path, file), _caption_column(file.schema_arrow)
        start = 0
        for group in range(file.num_row_groups):
            keys = [
                f"{stem}/{start + i:09d}" for i in range(file.metadata.row_group(group).num_rows)
            ]
            start += len(keys)
            if all(key in packed for key in keys):
                continue
            rows = (
                row
                for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group])
                for row in batch.to_pylist()
            )
            for key, row in zip(keys, rows, strict=True):
                yield Packable(key, partial(_members, row, image, caption))


def _image_column(path: Path, file: pq.ParquetFile) -> str:
    """The column in whose first value the bytes of an image lie."""
    candidates = [field.name for field in file.schema_arrow if _holds_bytes(field.type)]
    if candidates:
        for batch in file.iter_batches(_BATCH_ROWS, columns=candidates):
            for row in batch.to_pylist():
                for name in candidates:
                    if sniff_format(_bytes(row[name]) or b""):
                        return str(name)
    columns = ", ".join(f"{field.name} ({field.type})" for field in file.schema_arrow)
    raise PackError(
        f"{path}: no column holds the bytes of images; expected one that is binary, or a struct "
        f"with a field 'bytes', got {columns}"
    )


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _caption_column(schema: pa.Schema) -> str | None:
    texts = [
        f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)
    ]
    return next((name for want in _CAPTIONS for name in texts if name.lower() == want), None)


def _bytes(value: Any) -> bytes | None:
    return value.get("bytes") if isinstance(value, dict) else value


def _members(row: dict[str, Any], image: str, caption: str | None) -> list[tuple[str, bytes]]:
    members = list[tuple[str, bytes]]()
    data = _bytes(row[image])
    if data is not None:
        kind = sniff_format(data)
        members.append((_EXTENSIONS.get(kind, kind) if kind else "jpg", data))
    if caption is not None and row[caption] is not None:
        members.append(("txt", row[caption].encode()))
    about = {name: value for name, value in row.items() if name not in (image, caption)}
    if isinstance(row[image], dict):
        rest = {name: value for name, value in row[image].items() if name != "bytes"}
        about |= {image: rest} if rest else {}
    if about or not members:
        members.append(("json", json.dumps(about, ensure_ascii=False, default=_plain).encode()))
    return members


def _plain(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
