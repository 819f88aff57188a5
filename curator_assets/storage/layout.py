"""Where each thing lies below `output`, by asset and partition."""

from __future__ import annotations

CENTROIDS = "clusters/centroids.npy"
PREFIX_DIRECTIONS = "clusters/prefix_directions.npy"
DUPLICATE_GROUPS = "duplicates/groups.parquet"
ARRIVALS = "arrivals"
LEASE = "lease"
LEDGER = "ledger"
SOURCE = "source.txt"
"""The source that the output was made from, as a path from the output where it can be one."""
NOT_TAKEN = "not_taken.json"
"""What of the source is not curated, why and since when."""
TRASH = "trash"
"""What was let go of, as it lay below `output`; its ledger and metadata are folders of it."""
REPLACED = "trash/replaced"
"""The tables of `image_embeddings` that were made again: of each shard the last, once all are."""
LET_GO = "let_go"
"""Below `TRASH`: since when each shard lies there."""
TO_ERASE = "to_erase"
"""Below `TRASH`: the shards of which it is to be erased."""
INDEX = "index"
"""From content hashes to rows of `image_embeddings`; all of it can be made again."""
TAR_SHARDS = "tar_shards"
"""The asset of the source's tars, under which their versions are kept."""
LISTING = "listing.parquet"
CALIBRATION_TABLE = "calibration/eps.parquet"
CALIBRATION_COSINES = "calibration/cosines.parquet"
CALIBRATION_PLOT = "calibration/eps.svg"
REPORT = "report/index.html"
REPORT_SUMMARY = "report/summary.json"
REPORT_LAST_SUMMARY = "report/last_summary.json"
"""The summary that the report tells changes from; there is none of the first."""
REPORT_FOLDER = "report"
REPORT_CHARTS = "report/charts"
SHEETS = "report/sheets"
"""Contact sheets, which only show what was made."""
PAIRS_TO_MARK = "report/pairs_to_mark.csv"
VERDICTS_PREFIX = "report/verdicts"
"""Tables of marked pairs begin so and end in `.csv`: a person's, never written here."""


def report_table(name: str) -> str:
    """A table of `curation_report`, one of `report_schemas.TABLES`."""
    return f"report/tables/{name}.parquet"


def report_chart(name: str) -> str:
    """A chart of `curation_report`."""
    return f"report/charts/{name}.svg"


def contact_sheet(asset: str, shard: str) -> str:
    """The pictures of what an asset removes from a shard."""
    return f"{SHEETS}/{asset}/{shard}.jpg"


def tar_index(shard: str) -> str:
    """Where in its tar each image of a shard lies."""
    return f"tars/{shard}.parquet"


def embeddings(shard: str) -> str:
    """The table of `image_embeddings`."""
    return f"embeddings/{shard}.parquet"


def segment(content: str) -> str:
    """A segment of the index with this content."""
    return f"{INDEX}/{content}.segment"


def damaged(segment: str) -> str:
    """The note that a segment of this name does not hold what was written."""
    return f"{segment}.damaged"


def is_segment(name: str) -> bool:
    """Whether a file is a segment of the index."""
    return name == segment(
        name.removeprefix(f"{INDEX}/").removesuffix(".segment").rpartition("/")[2]
    )


def replaced(shard: str, recipe: str, table: str, sha256: str) -> str:
    """A table of `image_embeddings` that is made again, by recipe, identity and content."""
    return f"{replaced_of(shard)}/{recipe}.{table}.{sha256}.parquet"


def replaced_of(shard: str) -> str:
    """The folder of a shard's tables that were made again."""
    return f"{REPLACED}/{shard}"


def replaced_parts(name: str) -> tuple[str, str, str, str] | None:
    """The inverse of `replaced`; None for a file that is no such table."""
    shard, _, file = name.removeprefix(f"{REPLACED}/").rpartition("/")
    parts = file.removesuffix(".parquet").split(".")
    if len(parts) != 3:
        return None
    recipe, table, sha256 = parts
    found = (shard, recipe, table, sha256)
    return found if name == replaced(*found) else None


def scores(shard: str) -> str:
    """The table of `filter_scores`."""
    return f"scores/{shard}.parquet"


def assignments(shard: str) -> str:
    """The table of `cluster_assignments`."""
    return f"clusters/assignments/{shard}.parquet"


def cell_rows(shard: str) -> str:
    """The images of `cluster_assignments` by cell group."""
    return f"clusters/rows/{shard}.arrow"


def cell_vectors(shard: str) -> str:
    """The embeddings of these images, by cell."""
    return f"clusters/vectors/{shard}.bin"


def pairs(cell_group: str) -> str:
    """The table of `near_duplicate_pairs`."""
    return f"duplicates/pairs/{cell_group}.parquet"


def dense_members(cell_group: str) -> str:
    """The table beside `near_duplicate_pairs` of the images too many to list pairwise."""
    return f"duplicates/dense/{cell_group}.parquet"


def searched(cell_group: str) -> str:
    """The table beside `near_duplicate_pairs` of the images that were compared."""
    return f"duplicates/searched/{cell_group}.parquet"


def duplicate_ids(shard: str) -> str:
    """The table of `duplicate_ids`."""
    return f"duplicates/ids/{shard}.parquet"


def curated_tar(shard: str) -> str:
    """The tar of `deduplicated_shards`."""
    return f"shards/{shard}.tar"


def curated_table(shard: str) -> str:
    """The table beside the tar of `deduplicated_shards`: every sample and its verdict."""
    return f"shards/{shard}.parquet"


def arrivals(number: int) -> str:
    """The object with this number in the sequence that tells the order of arrival."""
    return f"{ARRIVALS}/{number:08d}.json"


def arrivals_number(name: str) -> int | None:
    """The inverse of `arrivals`; None for a file that is no such object."""
    stem = name.removeprefix(f"{ARRIVALS}/").removesuffix(".json")
    number = int(stem) if stem.isdecimal() and stem.isascii() else -1
    return number if number >= 0 and arrivals(number) == name else None


def lease(token: int) -> str:
    """The file of a holder of the lease."""
    return f"{LEASE}/{token}.json"


def lease_token(name: str) -> int | None:
    """The inverse of `lease`; None for a file that is no such."""
    token = _number(name.removeprefix(f"{LEASE}/").removesuffix(".json"))
    return token if token and lease(token) == name else None


def probe(seconds: int, number: str) -> str:
    """An object that is written only to see whether, and how, one can be; when, in Unix time."""
    return f"{LEASE}/.probe-{seconds}-{number}"


def probe_seconds(name: str) -> int | None:
    """When a probe was written; None for a file that is none."""
    digits = name.removeprefix(f"{LEASE}/.probe-").partition("-")[0]
    return _number(digits) if name.startswith(f"{LEASE}/.probe-") else None


def let_go(shard: str) -> str:
    """The note of a shard in the trash, below `TRASH`."""
    return f"{LET_GO}/{shard}.json"


def to_erase(shard: str) -> str:
    """The note that a shard in the trash is to be erased, below `TRASH`."""
    return f"{TO_ERASE}/{shard}.json"


def let_go_shard(name: str) -> str | None:
    """The inverse of `let_go`; None for a file that is no such note."""
    shard = name.removeprefix(f"{LET_GO}/").removesuffix(".json")
    return shard if name == let_go(shard) else None


def to_erase_shard(name: str) -> str | None:
    """The inverse of `to_erase`; None for a file that is no such note."""
    shard = name.removeprefix(f"{TO_ERASE}/").removesuffix(".json")
    return shard if name == to_erase(shard) else None


def ledger(asset: str, partition: str | None, token: int = 0) -> str:
    """The ledger entry of a partition, or of an asset without partitions.

    `token` is that of the lease under which it was written; 0: without one.
    It stands between the last two dots of a name with a suffix of its own. So no two entries share
    a file, whatever dots and digits their partitions' names hold.
    """
    return f"{LEDGER}/{_of(asset, partition)}.{f'{token}.entry' if token else 'json'}"


def ledger_folder(asset: str) -> str:
    """Where the ledger entries of an asset's partitions lie."""
    return f"{LEDGER}/{asset}"


def ledger_snapshot(asset: str) -> str:
    """The entries of an asset's partitions in one file."""
    return f"{LEDGER}/{asset}.snapshot"


def ledger_parts(asset: str, name: str) -> tuple[str, int] | None:
    """The partition and the token of the ledger entry called `name`; None if it is no entry."""
    folder, token = f"{LEDGER}/{asset}/", any_ledger_token(name)
    if token is None or not name.startswith(folder):
        return None
    return name[len(folder) : -len(f".{token}.entry" if token else ".json")], token


def ledger_partition(asset: str, name: str) -> str | None:
    """The partition whose ledger entry is called `name`; None for a file that is no entry."""
    parts = ledger_parts(asset, name)
    return parts[0] if parts else None


def ledger_token(asset: str, partition: str | None, name: str) -> int | None:
    """The token of a partition's ledger entry called `name`; None if it is no entry of it."""
    token = any_ledger_token(name)
    return token if token is not None and name == ledger(asset, partition, token) else None


def any_ledger_token(name: str) -> int | None:
    """The token of the ledger entry called `name`, whatever it is of; None if it is no entry."""
    if name.endswith(".json"):
        return 0
    token = _number(name.removesuffix(".entry").rpartition(".")[2])
    return token if token and name.endswith(f".{token}.entry") else None


def _number(digits: str) -> int | None:
    return int(digits) if digits.isdecimal() and digits.isascii() and len(digits) < 20 else None


def metadata(asset: str, partition: str | None) -> str:
    """What was reported of a partition."""
    return f"metadata/{_of(asset, partition)}.json"


def is_bookkeeping(name: str) -> bool:
    """Whether a file is kept beside what is made, and no entry vouches for it.

    The order of arrival, the lease, the ledger itself, what is not taken or was let go of, a
    person's tables of marked pairs; files that begin with a dot are what killed processes left.
    """
    folder, is_marked = name.partition("/")[0], name.startswith(VERDICTS_PREFIX)
    return (
        folder in _KEPT_BESIDE
        or any(part.startswith(".") for part in name.split("/"))
        or (is_marked and name.endswith(".csv"))
    )


_KEPT_BESIDE = {ARRIVALS, INDEX, LEASE, LEDGER, LISTING, NOT_TAKEN, SOURCE, TRASH, "logs"}


def _of(asset: str, partition: str | None) -> str:
    return asset if partition is None else f"{asset}/{partition}"
