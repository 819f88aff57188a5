"""Where each thing lies below `output`, by asset and partition."""

from __future__ import annotations

CENTROIDS = "clusters/centroids.npy"
DUPLICATE_GROUPS = "duplicates/groups.parquet"
ARRIVALS = "arrivals.parquet"
LISTING = "listing.parquet"
CALIBRATION_TABLE = "calibration/eps.parquet"
CALIBRATION_COSINES = "calibration/cosines.parquet"
CALIBRATION_PLOT = "calibration/eps.png"
REPORT = "report/index.html"
REPORT_SUMMARY = "report/summary.json"
REPORT_FOLDER = "report"
REPORT_CHARTS = "report/charts"
PAIRS_TO_MARK = "report/pairs_to_mark.csv"
VERDICTS_PREFIX = "report/verdicts"
"""Tables of marked pairs begin so and end in `.csv`: a person's, never written here."""


def report_table(name: str) -> str:
    """A table of `curation_report`, one of `report_schemas.TABLES`."""
    return f"report/tables/{name}.parquet"


def report_chart(name: str) -> str:
    """A chart of `curation_report`."""
    return f"report/charts/{name}.png"


def tar_index(shard: str) -> str:
    """Where in its tar each image of a shard lies."""
    return f"tars/{shard}.parquet"


def embeddings(shard: str) -> str:
    """The table of `image_embeddings`."""
    return f"embeddings/{shard}.parquet"


def scores(shard: str) -> str:
    """The table of `filter_scores`."""
    return f"scores/{shard}.parquet"


def assignments(shard: str) -> str:
    """The table of `cluster_assignments`."""
    return f"clusters/assignments/{shard}.parquet"


def pairs(cell_group: str) -> str:
    """The table of `near_duplicate_pairs`."""
    return f"duplicates/pairs/{cell_group}.parquet"


def dense_members(cell_group: str) -> str:
    """The table beside `near_duplicate_pairs` of the images too many to list pairwise."""
    return f"duplicates/dense/{cell_group}.parquet"


def duplicate_ids(shard: str) -> str:
    """The table of `duplicate_ids`."""
    return f"duplicates/ids/{shard}.parquet"


def curated_tar(shard: str) -> str:
    """The tar of `deduplicated_shards`."""
    return f"shards/{shard}.tar"


def curated_table(shard: str) -> str:
    """The table beside the tar of `deduplicated_shards`: every sample and its verdict."""
    return f"shards/{shard}.parquet"


def ledger(asset: str, partition: str | None) -> str:
    """The ledger entry of a partition, or of an asset without partitions."""
    return f"ledger/{asset}/{partition}.json" if partition else f"ledger/{asset}.json"
