"""`near_duplicate_pairs`: every pair of images at cosine >= 1 - max_eps, by cell group."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import dagster as dg
import pyarrow.compute as pc

from curator_assets.defs.describe import column_schema
from curator_assets.defs.ensure import EnsureConfig, ensure, work_of
from curator_assets.defs.pair_search import PairSearch, open_search
from curator_assets.defs.progress import Progress
from curator_assets.defs.stage import (
    Inputs,
    Made,
    MissingInputError,
    Observed,
    Outcome,
    Stage,
    Work,
)
from curator_assets.partitions import cell_groups
from curator_assets.resources import Encoder, Storage
from curator_assets.settings import Settings
from curator_assets.storage import layout, schemas
from curator_assets.storage.ledger import Entry, hash_of
from curator_assets.storage.store import Store
from curator_assets.storage.tables import write_table

ASSET = "near_duplicate_pairs"

SMALL_SEARCH = 50_000
"""Images below which any search is cheap."""

MIN_RECALL = {"exact": 1.0, "fast": 0.9999}


def code_version(settings: Settings) -> str:
    """What the pairs depend on beside the members of their cells."""
    return f"1-max_eps={settings.duplicates.max_eps}"


def build_near_duplicate_pairs(settings: Settings) -> dg.AssetsDefinition:
    """The asset for these settings."""

    @dg.asset(
        name=ASSET,
        partitions_def=cell_groups(settings.clusters.n_cell_groups),
        deps=[dg.AssetDep("cluster_assignments", partition_mapping=dg.AllPartitionMapping())],
        group_name="deduplicate",
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=code_version(settings),
        check_specs=[
            dg.AssetCheckSpec(
                "recall",
                description="Share of the near-duplicates of a seeded sample of images, found by "
                "brute force, that the search found.",
                asset=ASSET,
            )
        ],
        kinds={"torch", "parquet"},
        metadata=column_schema(schemas.PAIRS),
        description="Every pair at cosine >= 1 - max_eps whose search falls to a group of cells. "
        "Stored once, so that a smaller eps or another policy needs no new search.",
    )
    def near_duplicate_pairs(
        context: dg.AssetExecutionContext,
        config: EnsureConfig,
        storage: Storage,
        encoder: Encoder,
    ) -> Iterator[Any]:
        work = work_of(context, settings, storage, encoder)
        yield from ensure(context, stage(work), work, config)

    return near_duplicate_pairs


def stage(work: Work) -> Stage:
    """How the pairs of a cell group are found."""
    settings = work.settings

    @cache
    def assigned() -> dict[str, Entry]:
        return assigned_shards(work)

    def inputs(group: str | None) -> Inputs:
        assert group is not None
        return {"members of the cells": hash_of(group_members(group, assigned()))}

    def make(groups: list[str | None]) -> Iterator[Outcome]:
        progress = Progress(work.log, "pairs", len(groups))
        with open_search(work.store, assigned(), settings) as search:
            cost = search.cost()
            warning = _too_costly(cost, search.n_images, settings)
            if warning:
                work.log.warning(warning)
            for group in groups:
                assert group is not None
                made = _search_group(work.store, search, group, cost, settings)
                progress.advance(made.metadata["dagster/row_count"])
                progress.finish_partition()
                yield made
            yield from _measured_recall(search, this, work)

    this = Stage(ASSET, code_version(settings), inputs, make)
    return this


def assigned_shards(work: Work) -> dict[str, Entry]:
    """The shards that are searched, with the entries of their assignments.

    Raises:
        MissingInputError: an assignment is to another codebook, or of embeddings that changed.
    """
    assigned = work.made_shards("cluster_assignments")
    codebook = work.require_version("centroids")
    for shard, entry in assigned.items():
        embeddings = work.require_version("image_embeddings", shard)
        made_from = entry.inputs["centroids"], entry.inputs["image_embeddings"]
        if made_from != (codebook, embeddings):
            raise MissingInputError(
                f"cluster_assignments of {shard!r} are older than its embeddings or the "
                "centroids; materialise cluster_assignments first"
            )
    return assigned


def group_members(group: str, assigned: Mapping[str, Entry]) -> list[tuple[str, str]]:
    """What each shard brings to a cell group: shard and digest, in order of arrival."""
    digests = {
        shard: entry.state["groups"].get(str(int(group))) for shard, entry in assigned.items()
    }
    return [(shard, digest) for shard, digest in digests.items() if digest]


def _search_group(
    store: Store, search: PairSearch, group: str, cost: dict[str, float], settings: Settings
) -> Made:
    pairs, dense = search.tables(group)
    names = layout.pairs(group), layout.dense_members(group)
    write_table(store, names[0], pairs, schemas.PAIRS)
    write_table(store, names[1], dense, schemas.DENSE_MEMBERS)
    n_identical = pc.sum(pairs["identical"]).as_py() or 0
    metadata = {
        "dagster/row_count": len(pairs),
        "n_pairs": len(pairs) - n_identical,
        "n_identical": n_identical,
        "n_across_cells": len(pairs) - (pc.sum(pairs["same_cell"]).as_py() or 0),
        "n_in_dense_clumps": len(dense),
        **cost,
        "max_eps": settings.duplicates.max_eps,
        "url": store.url(names[0]),
    }
    return Made(group, files=names, metadata=metadata)


def _too_costly(cost: dict[str, float], n_images: int, settings: Settings) -> str | None:
    share = cost["share_of_brute_force"]
    if n_images < SMALL_SEARCH or share <= settings.duplicates.max_search_share:
        return None
    return (
        f"searching to max_eps {settings.duplicates.max_eps} compares {share:.0%} of all pairs of "
        f"{n_images} images, above duplicates.max_search_share "
        f"{settings.duplicates.max_search_share:.0%}; a smaller max_eps or search: fast costs less"
    )


def _measured_recall(search: PairSearch, stage: Stage, work: Work) -> Iterator[Observed]:
    """The recall of all groups together, once all are made."""
    duplicates = work.settings.duplicates
    if not duplicates.recall_queries or not search.n_images:
        return
    if any(stage.why_stale(group, work.ledger) for group in work.cell_groups):
        return
    recall = search.recall(work.cell_groups, n_queries=duplicates.recall_queries)
    low, high = recall.interval()
    found = {
        "recall": recall.recall,
        "recall_low": low,
        "recall_high": high,
        "n_queries": recall.n_queries,
        "n_true": recall.n_true,
        "n_missed": recall.n_true - recall.n_found,
        "n_ties": recall.n_ties,
        "search": duplicates.search,
    }
    yield Observed("recall", recall.recall >= MIN_RECALL[duplicates.search], found)
