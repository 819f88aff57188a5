"""What is told of a partition, as Dagster's metadata."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from curator_assets.control_characters import escaped_lines
from curator_assets.masking import masked

_FOLDERS = {"folder", "sheets", "source"}
_PLACES = _FOLDERS | {"file", "pairs_to_mark", "plot", "report", "sheet", "table", "tar"}
"""Names of values that tell where a file lies; so do those that end in `_chart`."""


def metadata_values(metadata: Mapping[str, Any]) -> dict[str, dg.MetadataValue[Any]]:
    """Values as the UI shows them: a list of rows as a table, where a file lies as a link.

    A path can be copied there; a browser opens none from a page that came over HTTP.
    """
    return {name: _metadata_value(name, value) for name, value in metadata.items()}


def _metadata_value(name: str, value: Any) -> dg.MetadataValue[Any]:
    match value:
        case bool():
            return dg.MetadataValue.bool(value)
        case int():
            return dg.MetadataValue.int(value)
        case float():
            return dg.MetadataValue.float(value)
        case str():
            return _text(name, escaped_lines(masked(value)))
        case [dict(), *_]:
            return dg.MetadataValue.table([dg.TableRecord(row) for row in value])
        case _:
            return dg.MetadataValue.json(value)


def _text(name: str, text: str) -> dg.MetadataValue[Any]:
    is_place = name in _PLACES or name.endswith("_chart")
    if is_place and "://" in text:
        return dg.MetadataValue.url(text)
    if is_place and text.startswith("/"):
        return dg.MetadataValue.path(text)
    return dg.MetadataValue.text(text)
