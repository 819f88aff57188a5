"""`duplicate_groups`: which image stands for which, at which cosine."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa

from curator_assets.defs import near_duplicate_pairs
from curator_assets.defs.describe import column_schema
from curator_assets.defs.ensure import EnsureConfig, ensure, work_of
from curator_assets.defs.resolution import Resolver, StoredPairs, needs_assignments
from curator_assets.defs.stage import (
    Failed,
    Inputs,
    Made,
    MissingInputError,
    Outcome,
    Stage,
    Work,
)
from curator_assets.resources import Encoder, Storage
from curator_assets.settings import Settings
from curator_assets.storage import layout, schemas
from curator_assets.storage.groups import removals_by_shard, removals_version
from curator_assets.storage.ledger import hash_of
from curator_assets.storage.tables import write_table

ASSET = "duplicate_groups"


def code_version(settings: Settings) -> str:
    """What the resolution depends on beside pairs and scores."""
    duplicates = settings.duplicates.model_dump(exclude={"max_eps", "search"})
    return f"2-eps={settings.duplicates.eps}-{hash_of(duplicates, settings.filters)}"


def build_duplicate_groups(settings: Settings) -> dg.AssetsDefinition:
    """The asset for these settings."""

    @dg.asset(
        name=ASSET,
        deps=["near_duplicate_pairs", "image_embeddings", "filter_scores", "cluster_assignments"],
        group_name="deduplicate",
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=code_version(settings),
        check_specs=[
            dg.AssetCheckSpec(
                "every_kept_id_is_kept",
                description="Every removed image names a kept one that is itself kept.",
                asset=ASSET,
                blocking=True,
            ),
            dg.AssetCheckSpec(
                "unique_ids", description="No image id occurs twice.", asset=ASSET, blocking=True
            ),
        ],
        kinds={"parquet"},
        metadata=column_schema(schemas.DUPLICATE_GROUPS),
        description="The resolution: each removed image, the kept image that stands for it and "
        "their cosine. An image takes part only if it passes the filters.",
    )
    def duplicate_groups(
        context: dg.AssetExecutionContext,
        config: EnsureConfig,
        storage: Storage,
        encoder: Encoder,
    ) -> Iterator[Any]:
        work = work_of(context, settings, storage, encoder)
        yield from ensure(context, stage(work), work, config)

    return duplicate_groups


def stage(work: Work) -> Stage:
    """How it is decided which image stands for which."""
    settings, store = work.settings, work.store
    pairs_stage = near_duplicate_pairs.stage(work)

    def inputs(_: str | None) -> Inputs:
        shards = work.made_shards("image_embeddings")
        per_shard = ["image_embeddings", "filter_scores"]
        per_shard += ["cluster_assignments"] * needs_assignments(settings)
        for group in work.cell_groups:
            if why := pairs_stage.why_stale(group, work.ledger):
                raise MissingInputError(
                    f"near_duplicate_pairs of {group!r} are not up to date ({why}); materialise "
                    "near_duplicate_pairs first"
                )
        versions = {
            asset: hash_of([(shard, work.require_version(asset, shard)) for shard in shards])
            for asset in per_shard
        }
        pairs = [work.require_version("near_duplicate_pairs", group) for group in work.cell_groups]
        return versions | {"near_duplicate_pairs": hash_of(pairs)}

    def make(_: list[str | None]) -> Iterator[Outcome]:
        embedded = work.made_shards("image_embeddings")
        stored = StoredPairs(store, list(embedded), work.cell_groups, settings)
        if len(stored.samples["image_id"].unique()) != len(stored.samples):
            yield Failed(None, _same_id(stored.samples), check="unique_ids")
            return
        resolver = Resolver(stored, settings)
        alive, resolution = resolver.alive, resolver.at(settings.duplicates.eps)
        stands = resolution.kept_by[resolution.removed]
        lost = resolution.removed[stands] | ~alive[stands]
        if lost.any() and settings.duplicates.rule == "greedy":
            message = f"{lost.sum()} kept_ids are not kept: please report this as a bug"
            yield Failed(None, message, check="every_kept_id_is_kept")
            return
        table = resolver.removed_table(resolution)
        write_table(store, layout.DUPLICATE_GROUPS, table, schemas.DUPLICATE_GROUPS)
        yield Made(
            None,
            files=(layout.DUPLICATE_GROUPS,),
            metadata=_metadata(table, alive, settings)
            | {"n_orphans": int(lost.sum()), "url": store.url(layout.DUPLICATE_GROUPS)},
            checks={
                "every_kept_id_is_kept": {"rule": settings.duplicates.rule},
                "unique_ids": {},
            },
            state={
                "shards": {shard: entry.data_version for shard, entry in embedded.items()},
                "removals": {s: removals_version(t) for s, t in removals_by_shard(table).items()},
            },
        )

    return Stage(ASSET, code_version(settings), inputs, make)


def _metadata(table: pa.Table, alive: np.ndarray, settings: Settings) -> dict[str, Any]:
    sizes = table["kept_id"].value_counts().field("counts").to_numpy(zero_copy_only=False) + 1
    duplicates = settings.duplicates
    return {
        "dagster/row_count": len(table),
        "n_images": len(alive),
        "n_taking_part": int(alive.sum()),
        "n_duplicates": len(table),
        "duplicate_fraction": len(table) / max(int(alive.sum()), 1),
        "n_groups": len(sizes),
        "largest_group": int(sizes.max(initial=0)),
        "eps": duplicates.eps,
        "keep": duplicates.keep,
        "rule": duplicates.rule,
        "filters": [rule.reason for rule in settings.filters],
    }


def _same_id(samples: pa.Table) -> str:
    counts = samples["image_id"].value_counts().to_pylist()
    twice = next(row["values"] for row in counts if row["counts"] > 1)
    return (
        f"two shards hold a sample with the image_id {twice!r} (a key with slashes reads like a "
        "folder); rename one of the tars"
    )
