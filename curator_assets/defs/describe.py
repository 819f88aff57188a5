"""What the UI shows of an asset beside its events."""

from typing import Any

import dagster as dg
import pyarrow as pa


def column_schema(schema: pa.Schema) -> dict[str, Any]:
    """Definition metadata that lists a table's columns on the asset's page."""
    columns = [
        dg.TableColumn(
            field.name,
            str(field.type),
            constraints=dg.TableColumnConstraints(nullable=field.nullable),
        )
        for field in schema
    ]
    return {"dagster/column_schema": dg.TableSchema(columns)}
