"""What `dg` loads; `dagster` loads curator_assets.definitions itself."""

from curator_assets.definitions import defs as defs
