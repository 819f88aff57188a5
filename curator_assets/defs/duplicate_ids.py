"""`duplicate_ids`: what to remove from each shard."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from curator_assets.defs.contact_sheets import ContactSheets, in_threads
from curator_assets.defs.describe import column_schema
from curator_assets.defs.ensure import EnsureConfig, ensure, work_of
from curator_assets.defs.stage import (
    Inputs,
    Made,
    MissingInputError,
    Outcome,
    Stage,
    Work,
)
from curator_assets.partitions import SHARDS
from curator_assets.resources import Encoder, Storage
from curator_assets.settings import Settings
from curator_assets.storage import layout, schemas
from curator_assets.storage.groups import removals_by_shard
from curator_assets.storage.tables import read_table, write_table

ASSET = "duplicate_ids"
CODE_VERSION = "1"
MAX_LISTED = 50


def build_duplicate_ids(settings: Settings) -> dg.AssetsDefinition:
    """The asset for these settings."""

    @dg.asset(
        name=ASSET,
        partitions_def=SHARDS,
        deps=["duplicate_groups"],
        group_name="deduplicate",
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=CODE_VERSION,
        kinds={"parquet"},
        metadata=column_schema(schemas.DUPLICATE_IDS),
        description="The duplicates to remove from a shard, each with the kept image that stands "
        "for it. Its version is a hash of the set: it changes only if what is removed changes.",
    )
    def duplicate_ids(
        context: dg.AssetExecutionContext,
        config: EnsureConfig,
        storage: Storage,
        encoder: Encoder,
    ) -> Iterator[Any]:
        work = work_of(context, settings, storage, encoder)
        yield from ensure(context, stage(work), work, config)

    return duplicate_ids


def stage(work: Work) -> Stage:
    """How a shard's part of the resolution is set apart."""
    store = work.store
    empty = schemas.DUPLICATE_GROUPS.empty_table()

    @cache
    def by_shard() -> dict[str, pa.Table]:
        return removals_by_shard(read_table(store, layout.DUPLICATE_GROUPS))

    def inputs(shard: str | None) -> Inputs:
        assert shard is not None
        require_covered(work, shard)
        return {"duplicate_groups": work.require("duplicate_groups").state["removals"].get(shard)}

    def make(shards: list[str | None]) -> Iterator[Outcome]:
        sheets, rows = ContactSheets(work), by_shard()

        def drawn(shard: str | None) -> dict[str, Any]:
            assert shard is not None
            return sheets.of_pairs(shard, rows.get(shard, empty))

        for shard, pictures in zip(shards, in_threads(drawn, shards), strict=True):
            assert shard is not None
            name, removed = layout.duplicate_ids(shard), rows.get(shard, empty)
            write_table(store, name, removed, schemas.DUPLICATE_IDS)
            listed = removed.select(schemas.DUPLICATE_IDS.names).slice(0, MAX_LISTED).to_pylist()
            metadata = {
                "dagster/row_count": len(removed),
                "n_duplicates": len(removed),
                "lowest_cosine": pc.min(removed["cosine"]).as_py() or 1.0,
                **pictures,
                "removals": [row | {"cosine": round(row["cosine"], 4)} for row in listed],
                "url": store.url(name),
            }
            yield Made(shard, files=(name,), metadata=metadata)

    return Stage(ASSET, CODE_VERSION, inputs, make)


def require_covered(work: Work, shard: str) -> None:
    """Refuse to go on with a resolution that was made without this shard as it is now.

    Raises:
        MissingInputError: `duplicate_groups` does not know the shard, or knew another version.
    """
    version = work.require_version("image_embeddings", shard)
    if work.require("duplicate_groups").state["shards"].get(shard) != version:
        raise MissingInputError(
            f"duplicate_groups was resolved without the present images of {shard!r}; materialise "
            "cluster_assignments, near_duplicate_pairs and duplicate_groups first"
        )
