"""The resolution of commit ec6eae3: a child of resolution.py.

Its package must come first on PYTHONPATH; no other commit's names are known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from resolution_cost import run_child, settings_in

PACKAGE = "curator_assets"


def module(name: str) -> Any:
    """A module of the package as it was: its types are not known to the one of today."""
    return import_module(f"{PACKAGE}.{name}")


resolver, groups = module("defs.deduplicate.resolver"), module("storage.tables.groups")
kernel, parquet = module("kernels.resolution"), module("storage.tables.parquet")


def resolve(folder: Path, keep: str, rule: str) -> Iterable[tuple[str, Any]]:
    """What the stage does.

    Raises:
        ValueError: an id occurs twice.
    """
    settings = module("settings").Settings.model_validate(settings_in(folder, keep, rule))
    store = module("storage.store").Store(settings.output)
    shards = list(module("storage.arrivals").read_arrivals(store))
    names = [f"{group:04d}" for group in range(settings.clusters.n_cell_groups)]
    stored = resolver.StoredPairs(store, shards, names, settings)
    if len(stored.samples["image_id"].unique()) != len(stored.samples):
        raise ValueError("an id occurs twice")
    made = resolver.Resolver(stored, settings)
    table = made.removed_table(made.at(settings.duplicates.eps))
    name, schema = "duplicates/groups.before.parquet", module("storage.tables.schemas")
    parquet.write_table(store, name, table, schema.DUPLICATE_GROUPS)
    rows = groups.removals_by_shard(table)
    for removed in rows.values():
        groups.removals_version(removed)
    return rows.items()  # type: ignore[no-any-return]


if __name__ == "__main__":
    run_child(resolve)
