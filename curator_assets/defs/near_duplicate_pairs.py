"""`near_duplicate_pairs`: every pair of images at cosine >= 1 - max_eps, by cell group."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dagster as dg
import numpy as np

from curator_assets.defs.cluster_assignments import cell_group_of
from curator_assets.defs.describe import column_schema
from curator_assets.defs.ensure import EnsureConfig, Made, MissingInputError, Outcome, ensure
from curator_assets.defs.inputs import made_shards
from curator_assets.defs.progress import Progress
from curator_assets.partitions import cell_groups
from curator_assets.resources import Storage
from curator_assets.settings import Settings
from curator_assets.storage import layout, schemas
from curator_assets.storage.assignments import assignment_of
from curator_assets.storage.ledger import Entry, Ledger, hash_files, hash_of
from curator_assets.storage.pair_tables import RowNumbers, pair_table
from curator_assets.storage.scratch import all_embeddings
from curator_assets.storage.store import Store
from curator_assets.storage.tables import read_table, write_table

ASSET = "near_duplicate_pairs"


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
        kinds={"torch", "parquet"},
        metadata=column_schema(schemas.PAIRS),
        description="Every pair at cosine >= 1 - max_eps whose search falls to a group of cells. "
        "Stored once, so that a smaller eps or another policy needs no new search.",
    )
    def near_duplicate_pairs(
        context: dg.AssetExecutionContext, config: EnsureConfig, storage: Storage
    ) -> Iterator[Any]:
        store, ledger = storage.store, storage.ledger
        assigned = made_shards(context.instance, store, ledger, "cluster_assignments")

        def fingerprint(group: str | None) -> str:
            assert group is not None
            digests = {
                shard: entry.state["groups"].get(str(int(group)))
                for shard, entry in assigned.items()
            }
            members = [(shard, digest) for shard, digest in digests.items() if digest]
            return hash_of(code_version(settings), members)

        def make(groups: list[str | None]) -> Iterator[Outcome]:
            _refuse_mixed(ledger, assigned)
            progress = Progress(context.log, "pairs", len(groups))
            for group, table in _search(store, assigned, settings, groups):
                name = layout.pairs(group)
                write_table(store, name, table, schemas.PAIRS)
                data_version, files = hash_files(store, [name])
                n_identical = int(np.count_nonzero(table["identical"]))
                metadata = {
                    "dagster/row_count": len(table),
                    "n_pairs": len(table) - n_identical,
                    "n_identical": n_identical,
                    "n_across_cells": len(table) - int(np.count_nonzero(table["same_cell"])),
                    "max_eps": settings.duplicates.max_eps,
                    "n_shards": len(assigned),
                    "url": store.url(name),
                }
                progress.advance(len(table))
                progress.finish_partition()
                yield Made(group, Entry(fingerprint(group), data_version, files, metadata))

        yield from ensure(context, ledger, config, fingerprint=fingerprint, make=make)

    return near_duplicate_pairs


def _refuse_mixed(ledger: Ledger, assigned: dict[str, Entry]) -> None:
    """Refuse assignments to different codebooks, or of embeddings that have changed since."""
    codebook = ledger.data_version("centroids")
    for shard, entry in assigned.items():
        if (
            entry.state["centroids"] != codebook
            or ledger.data_version("image_embeddings", shard) != entry.state["embeddings"]
        ):
            raise MissingInputError(
                f"cluster_assignments of {shard!r} are older than its embeddings or the "
                "centroids; materialise cluster_assignments first"
            )


def _search(
    store: Store, assigned: dict[str, Entry], settings: Settings, groups: list[str | None]
) -> Iterator[tuple[str, Any]]:
    """The table of pairs of each group."""
    from curator_assets.kernels.cells import CellAssignment
    from curator_assets.kernels.device import resolve_device
    from curator_assets.kernels.pairs import find_pairs

    device = resolve_device(settings.model.device)
    tables = [read_table(store, layout.assignments(shard)) for shard in assigned]
    assignment = CellAssignment.concatenate([assignment_of(table) for table in tables])
    numbers = RowNumbers({shard: entry.state["n_samples"] for shard, entry in assigned.items()})
    sample_of_image = np.concatenate(
        [
            numbers.rows_of(shard).start + table["position"].to_numpy()
            for shard, table in zip(assigned, tables, strict=True)
        ]
    )
    with store.open(layout.CENTROIDS) as file:
        n_clusters, width = np.load(file).shape
    group_of = cell_group_of(n_clusters, settings.clusters.n_cell_groups)
    with all_embeddings(store, assigned, len(sample_of_image), width) as embeddings:
        for group in groups:
            assert group is not None
            found = find_pairs(
                embeddings,
                assignment,
                cells=np.flatnonzero(group_of == int(group)),
                min_cosine=1 - settings.duplicates.max_eps,
                product_dtype="float32",
                device=device,
            )
            same_cell = assignment.home[found.a] == assignment.home[found.b]
            samples = replace(found, a=sample_of_image[found.a], b=sample_of_image[found.b])
            yield group, pair_table(samples, same_cell, numbers)
