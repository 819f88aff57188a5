"""`cluster_assignments`: the cell each image lives in, and the cells it must also visit."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa

from curator_assets.defs.describe import column_schema
from curator_assets.defs.ensure import EnsureConfig, ensure, work_of
from curator_assets.defs.progress import Progress
from curator_assets.defs.stage import Inputs, Made, Outcome, Stage, Work
from curator_assets.partitions import SHARDS
from curator_assets.resources import Encoder, Storage
from curator_assets.settings import Settings
from curator_assets.storage import layout, schemas
from curator_assets.storage.assignments import GroupDigests, assignment_table, read_centroids
from curator_assets.storage.ledger import Entry, hash_of
from curator_assets.storage.tables import embedding_matrix, read_row_groups, write_table

ASSET = "cluster_assignments"

# Of the cells within the exact bound, the fast search visits those well inside it, the nearest
# first; docs/log.md has the recall of both constants.
FAST_MAX_VISITS = 16
FAST_BOUND_FRACTION = 0.6

MAX_DRIFT = 1.5
"""Mean distance to the centroid, in multiples of the training sample's, above which to retrain."""


def code_version(settings: Settings) -> str:
    """What the assignment depends on beside embeddings and centroids."""
    duplicates = settings.duplicates.model_dump(include={"max_eps", "search"})
    return f"1-{hash_of(duplicates, settings.clusters.n_cell_groups)}"


def build_cluster_assignments(settings: Settings) -> dg.AssetsDefinition:
    """The asset for these settings."""

    @dg.asset(
        name=ASSET,
        partitions_def=SHARDS,
        deps=["image_embeddings", "centroids"],
        group_name="deduplicate",
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=code_version(settings),
        check_specs=[
            dg.AssetCheckSpec(
                "codebook_fits",
                description="The shard's images lie about as near to their centroids as the "
                "training sample did; if not, retraining would make the search cheaper.",
                asset=ASSET,
                partitions_def=SHARDS,
            )
        ],
        kinds={"torch", "parquet"},
        metadata=column_schema(schemas.ASSIGNMENTS),
        description="One row an embedding: its nearest centroid's cell, and the other cells that "
        "could hold a near-duplicate of it.",
    )
    def cluster_assignments(
        context: dg.AssetExecutionContext,
        config: EnsureConfig,
        storage: Storage,
        encoder: Encoder,
    ) -> Iterator[Any]:
        work = work_of(context, settings, storage, encoder)
        yield from ensure(context, stage(work), work, config)

    return cluster_assignments


def stage(work: Work) -> Stage:
    """How a shard's images are assigned to cells."""
    settings, store = work.settings, work.store

    def inputs(shard: str | None) -> Inputs:
        return {
            "image_embeddings": work.require_version("image_embeddings", shard),
            "centroids": work.require_version("centroids"),
        }

    def make(shards: list[str | None]) -> Iterator[Outcome]:
        codebook = work.require("centroids")
        centroids = read_centroids(store)
        progress = Progress(work.log, "images", len(shards))
        for shard in shards:
            assert shard is not None
            made = _assign_shard(shard, centroids, codebook, work)
            progress.advance(made.metadata["dagster/row_count"])
            progress.finish_partition()
            yield made

    return Stage(ASSET, code_version(settings), inputs, make)


def _assign_shard(shard: str, centroids: np.ndarray, codebook: Entry, work: Work) -> Made:
    from curator_assets.kernels.cells import visit_cells
    from curator_assets.kernels.device import resolve_device

    settings, store = work.settings, work.store
    columns = ["image_id", "position", "embedding"]
    fast = settings.duplicates.search == "fast"
    digests = GroupDigests(cell_group_of(len(centroids), settings.clusters.n_cell_groups))
    tables, n_samples, n_visits = list[pa.Table](), 0, 0
    for samples in read_row_groups(store, layout.embeddings(shard), columns):
        embeddings, rows = embedding_matrix(samples)
        assignment = visit_cells(
            embeddings,
            centroids,
            min_cosine=1 - settings.duplicates.max_eps,
            max_visits=FAST_MAX_VISITS if fast else None,
            bound_fraction=FAST_BOUND_FRACTION if fast else 1.0,
            device=resolve_device(settings.model.device),
        )
        tables.append(assignment_table(samples, rows, assignment))
        digests.update(embeddings, n_samples + rows, assignment)
        n_samples, n_visits = n_samples + len(samples), n_visits + len(assignment.visits)
    table, name = pa.concat_tables(tables), layout.assignments(shard)
    write_table(store, name, table, schemas.ASSIGNMENTS)
    drift = _drift(table["centroid_cosine"].to_numpy(), codebook)
    fits = {"codebook_fits": drift}
    return Made(
        shard,
        files=(name,),
        metadata={
            "dagster/row_count": len(table),
            **drift,
            "visits_per_image": n_visits / max(len(table), 1),
            "n_clusters": len(centroids),
            "search": settings.duplicates.search,
            "max_eps": settings.duplicates.max_eps,
            "url": store.url(name),
        },
        checks=fits if drift["drift"] <= MAX_DRIFT else {},
        warnings=fits if drift["drift"] > MAX_DRIFT else {},
        state={"groups": digests.hexdigests(), "n_samples": n_samples},
    )


def _drift(cosine: np.ndarray, codebook: Entry) -> dict[str, float]:
    """How much farther from their centroids a shard's images lie than the training sample."""
    distance = float(1 - cosine.mean()) if len(cosine) else 0.0
    trained = 1 - codebook.metadata["mean_cosine_to_centroid"]
    return {
        "mean_distance_to_centroid": distance,
        "training_distance_to_centroid": trained,
        "drift": distance / max(trained, 1e-6),
    }


def cell_group_of(n_clusters: int, n_cell_groups: int) -> np.ndarray:
    """int64 [K]: the cell group, a partition of `near_duplicate_pairs`, of each cell."""
    return np.arange(n_clusters) * n_cell_groups // n_clusters
