"""The search of commit d587dfb, over embeddings without images: a child of near_duplicates.py.

Its package must come first on PYTHONPATH; no other commit's names are known here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from search_cost import Array, embedding_rows, run_child

PACKAGE = "curator_assets"


def module(name: str) -> Any:
    """A module of the package as it was: its types are not known to the one of today."""
    return import_module(f"{PACKAGE}.{name}")


stages, ledger, tables = map(module, ("defs.stage", "storage.ledger", "storage.tables"))
EMBEDDINGS, SHARE = "image_embeddings", "share_of_brute_force"


def main() -> None:
    """The command line."""
    run_child(write, make_stage)


def work_on(folder: Path, shards: list[str]) -> Any:
    """What stages work with."""
    settings = module("settings").load_settings(folder / "curator.yaml")
    resources = module("resources").resources(settings)
    log = logging.getLogger("benchmark")
    return stages.Work(settings, resources["storage"], resources["encoder"], tuple(shards), log)


def write(folder: Path, shards: dict[str, Array]) -> None:
    """Add embedded shards, name -> float32 [n, D], to a project."""
    work, layout = work_on(folder, []), module("storage.layout")
    for shard, vectors in shards.items():
        n, width = vectors.shape
        schema = module("storage.schemas").embeddings(width, "float32")
        columns = {field.name: pa.nulls(n, field.type) for field in schema if field.nullable}
        columns |= embedding_rows(shard, n)
        columns["embedding"] = tables.embedding_column(vectors, np.arange(n), n, "float32")
        name = layout.embeddings(shard)
        with work.store.write(name) as file, tables.TableWriter(file, name, schema) as writer:
            writer.append(pa.table(columns))
        version, files = ledger.hash_files(work.store, [name])
        metadata = {"n_samples": n, "n_unreadable": 0}
        entry = ledger.Entry("", version, files=files, metadata=metadata)
        work.ledger.write(EMBEDDINGS, shard, entry)


def make_stage(name: str, folder: Path, shards: list[str]) -> Iterator[dict[str, Any]]:
    """Make what is not fresh of a stage; what is told of each partition, and of the whole.

    Raises:
        RuntimeError: a partition could not be made.
    """
    work = work_on(folder, shards)
    stage = module(f"defs.{name}").stage(work)
    by: dict[str, list[Any]] = {"centroids": [None], "cluster_assignments": shards}
    partitions = by.get(name, work.cell_groups)
    examined = stages.examine(stage, work.ledger, partitions)
    failed = list(examined.failed)
    for outcome in stages.outcomes(stage, examined.stale, work):
        if isinstance(outcome, stages.Recorded):
            told = dict(outcome.made.metadata)
            if SHARE in told:  # of the whole search, told by each partition
                told[SHARE] /= len(partitions)
            yield {"partition": outcome.made.partition, **told}
        elif isinstance(outcome, stages.Failed):
            failed.append(outcome)
        else:
            yield dict(outcome.found)
    if failed:
        raise RuntimeError(f"{name} could not be made: {failed[:3]}")


if __name__ == "__main__":
    main()
