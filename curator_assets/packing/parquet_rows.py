"""The rows of a Parquet file that holds image bytes, each as a sample.

The image's bytes are in a binary column, or in a struct with a field `bytes` as in datasets of the
Hugging Face hub. A column of text named caption, text or txt becomes the caption; what else a row
holds becomes JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curator_assets.errors import named
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
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise PackError(f"{path} can't be read as Parquet: {error}") from None
    stem = row_stem(root, path)
    with file:
        if file.metadata.num_rows == 0:
            return
        image, caption = _image_column(path, file), _caption_column(file.schema_arrow)
        start = 0
        for group in range(file.num_row_groups):
            keys = [
                f"{stem}/{start + i:09d}" for i in range(file.metadata.row_group(group).num_rows)
            ]
            start += len(keys)
            if all(key in packed for key in keys):
                continue
            rows = _rows(path, file, group)
            for key, row in zip(keys, rows, strict=True):
                yield Packable(key, partial(_members, row, image, caption))


def row_stem(root: Path, path: Path) -> str:
    """What the keys of a file's rows begin with."""
    return safe_key(path.relative_to(root).with_suffix("").as_posix())


def _rows(path: Path, file: pq.ParquetFile, group: int | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a group, or of the whole file.

    Raises:
        PackError: they can't be read.
    """
    groups = range(file.num_row_groups) if group is None else [group]
    try:
        for batch in file.iter_batches(_BATCH_ROWS, row_groups=groups):
            yield from batch.to_pylist()
    except (pa.ArrowException, ValueError, ArithmeticError, OSError) as error:
        raise PackError(f"{path}: its rows can't be read: {error}") from None


def _image_column(path: Path, file: pq.ParquetFile) -> str:
    """The column with the bytes of images; if all is null, the only one that may have them."""
    names = file.schema_arrow.names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise PackError(f"{path}: columns of one name: {named(twice)}; rename all but one of each")
    candidates = [field.name for field in file.schema_arrow if _holds_bytes(field.type)]
    is_empty = True
    for row in _rows(path, file) if candidates else ():
        for name in candidates:
            data = _bytes(row[name])
            if sniff_format(data or b""):
                return str(name)
            is_empty &= data is None
    if len(candidates) == 1 and is_empty:
        return str(candidates[0])
    columns = ", ".join(f"{field.name} ({field.type})" for field in file.schema_arrow)
    raise PackError(
        f"{path}: no column holds the bytes of images; expected one that is binary, or a struct "
        f"with a field 'bytes', got {columns}"
    )


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_binary(field.type) for field in kind)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(is_one(kind) for is_one in kinds)


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
        text = json.dumps(_without_nan(about), ensure_ascii=False, default=_plain)
        members.append(("json", text.encode()))
    return members


def _without_nan(value: Any) -> Any:
    """The same with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
