"""What is told of a partition, as Dagster's metadata."""

from typing import Any

import dagster as dg

from curator_assets.control_characters import escaped_lines
from curator_assets.masking import masked
from curator_assets.report.pictures.data_uri import data_uri
from curator_assets.storage.ledger import Picture


def metadata_value(value: Any) -> dg.MetadataValue[Any]:
    """A value as the UI shows it: a picture as such, a list of rows as a table."""
    match value:
        case bool():
            return dg.MetadataValue.bool(value)
        case int():
            return dg.MetadataValue.int(value)
        case float():
            return dg.MetadataValue.float(value)
        case Picture(data, kind):
            return dg.MetadataValue.md(f"![]({data_uri(data, kind)})")
        case str():
            return dg.MetadataValue.text(escaped_lines(masked(value)))
        case [dict(), *_]:
            return dg.MetadataValue.table([dg.TableRecord(row) for row in value])
        case _:
            return dg.MetadataValue.json(value)
