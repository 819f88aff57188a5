"""The resolution of this commit: a child of resolution.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from resolution_cost import run_child, settings_in

from curator_assets.defs.deduplicate.resolver import Resolver
from curator_assets.defs.deduplicate.stored_pairs import StoredPairs
from curator_assets.kernels import edges, resolution  # noqa: F401  beforehand, for memory's sake
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.arrivals import read_arrivals
from curator_assets.storage.store import Store
from curator_assets.storage.tables.groups import read_removals, removals_version, written_groups
from curator_assets.storage.tables.parquet import count_rows


def resolve(folder: Path, keep: str, rule: str) -> Iterator[tuple[str, pa.Table]]:
    """What the stage does."""
    settings = Settings.model_validate(settings_in(folder, keep, rule))
    store, eps = Store(settings.output), settings.duplicates.eps
    shards = {shard: count_rows(store, layout.embeddings(shard)) for shard in read_arrivals(store)}
    groups = [f"{group:04d}" for group in range(settings.clusters.n_cell_groups)]
    resolver = Resolver(StoredPairs(store, shards, groups), settings, max_eps=eps)
    with written_groups(store) as writer:
        for table in resolver.removals(eps):
            writer.append(table)
            removals_version(table)
    return read_removals(store)


if __name__ == "__main__":
    run_child(resolve)
