"""`duplicate_ids`: what to remove from each shard."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from curator_assets.defs.describe import column_schema
from curator_assets.defs.ensure import EnsureConfig, Made, Outcome, ensure, require, require_covered
from curator_assets.partitions import SHARDS
from curator_assets.resources import Storage
from curator_assets.storage import layout, schemas
from curator_assets.storage.ledger import Entry, hash_files, hash_of
from curator_assets.storage.tables import read_table, write_table

ASSET = "duplicate_ids"
CODE_VERSION = "1"


@dg.asset(
    name=ASSET,
    partitions_def=SHARDS,
    deps=["duplicate_groups"],
    group_name="deduplicate",
    backfill_policy=dg.BackfillPolicy.single_run(),
    code_version=CODE_VERSION,
    kinds={"parquet"},
    metadata=column_schema(schemas.DUPLICATE_IDS),
    description="The duplicates to remove from a shard, each with the kept image that stands for "
    "it. Its version is a hash of the set: it changes only if what is removed changes.",
)
def duplicate_ids(
    context: dg.AssetExecutionContext, config: EnsureConfig, storage: Storage
) -> Iterator[Any]:
    """Each shard's rows of the resolution."""
    store, ledger = storage.store, storage.ledger
    groups = require(ledger, "duplicate_groups")
    by_shard = _by_shard(read_table(store, layout.DUPLICATE_GROUPS))
    empty = schemas.DUPLICATE_IDS.empty_table()

    def fingerprint(shard: str | None) -> str:
        assert shard is not None
        require_covered(ledger, groups, shard)
        return hash_of(CODE_VERSION, by_shard.get(shard, empty).to_pydict())

    def make(shards: list[str | None]) -> Iterator[Outcome]:
        for shard in shards:
            assert shard is not None
            name, removed = layout.duplicate_ids(shard), by_shard.get(shard, empty)
            write_table(store, name, removed, schemas.DUPLICATE_IDS)
            data_version, files = hash_files(store, [name])
            metadata = {
                "dagster/row_count": len(removed),
                "n_duplicates": len(removed),
                "lowest_cosine": pc.min(removed["cosine"]).as_py() or 1.0,
                "removals": removed.slice(0, 50).to_pylist(),
                "url": store.url(name),
            }
            yield Made(shard, Entry(fingerprint(shard), data_version, files, metadata))

    yield from ensure(context, ledger, config, fingerprint=fingerprint, make=make)


def _by_shard(groups: pa.Table) -> dict[str, pa.Table]:
    """Shard -> its rows, in the order of the tar."""
    frame = pl.from_arrow(groups)
    assert isinstance(frame, pl.DataFrame)
    parts = frame.with_columns(pl.col("shard").cast(pl.String)).partition_by("shard", as_dict=True)
    names = schemas.DUPLICATE_IDS.names
    return {
        str(shard): part.sort("position").select(names).to_arrow().cast(schemas.DUPLICATE_IDS)
        for (shard,), part in parts.items()
    }
