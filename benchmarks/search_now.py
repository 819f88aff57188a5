"""The search of this commit, over embeddings without images: a child of near_duplicates.py."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from search_cost import Array, embedding_rows, run_child

from curator_assets.defs.deduplicate import measured_recall
from curator_assets.defs.deduplicate.near_duplicate_pairs import NEAR_DUPLICATE_PAIRS
from curator_assets.defs.embed.embedding_weights import WEIGHTS, weights_in_force
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.stages import GRAPH
from curator_assets.engine.freshness import all_inputs, examine
from curator_assets.engine.making import Recorded, make
from curator_assets.engine.stage import Failed
from curator_assets.engine.work import Work
from curator_assets.settings_file import load_settings
from curator_assets.storage import layout
from curator_assets.storage.arrivals import record_arrivals
from curator_assets.storage.ledger import Entry
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.parquet import TableWriter, embedding_column
from curator_assets.storage.versions import hash_of, stored_files, version_of

STAGES = {stage.name: stage for stage in GRAPH.stages}


def main() -> None:
    """The command line."""
    run_child(write, make_stage)


def work_on(folder: Path, shards: list[str]) -> Work:
    """What stages work with."""
    settings = load_settings(folder / "curator.yaml")
    return Work(settings, tuple(shards), logging.getLogger("benchmark"))


def write(folder: Path, shards: dict[str, Array]) -> None:
    """Add embedded shards, name -> float32 [n, D], to a project."""
    work = work_on(folder, [])
    for shard, vectors in shards.items():
        n, width = vectors.shape
        schema = schemas.embeddings(width, "float32")
        columns = {field.name: pa.nulls(n, field.type) for field in schema if field.nullable}
        columns |= embedding_rows(shard, n)
        columns["embedding"] = embedding_column(vectors, np.arange(n), n, "float32")
        name = layout.embeddings(shard)
        with work.store.write(name) as file, TableWriter(file, name, schema) as writer:
            writer.append(pa.table(columns))
        files = stored_files(work.store, [name])
        inputs = all_inputs(IMAGE_EMBEDDINGS, work, {WEIGHTS: weights_in_force(work)})
        state = {"n_samples": n, "n_unreadable": 0}
        entry = Entry(hash_of(inputs), version_of(files), inputs, files, state=state)
        work.ledger.write(IMAGE_EMBEDDINGS.name, shard, entry)
    record_arrivals(work.store, shards)


def make_stage(name: str, folder: Path, shards: list[str]) -> Iterator[dict[str, Any]]:
    """Make what is not fresh of a stage; what is told of each partition, and of the whole.

    Raises:
        RuntimeError: a partition could not be made.
    """
    work, stage = work_on(folder, shards), STAGES[name]
    examined = examine(stage, work, work.partitions(stage))
    failed = list(examined.failed)
    for outcome in make(stage, [*examined.stale, *examined.undecided], work):
        if isinstance(outcome, Recorded):
            yield {"partition": outcome.partition, **outcome.metadata}
        elif isinstance(outcome, Failed):
            failed.append(outcome)
        else:
            yield dict(outcome.found)
    if NEAR_DUPLICATE_PAIRS.name == name and not failed:
        yield asked_as_before(work)
    if failed:
        raise RuntimeError(f"{name} could not be made: {failed[:3]}")


def asked_as_before(work: Work) -> dict[str, Any]:
    """The recall check with the number of queries of before; there is no setting that asks more.

    Once it has shown what it is to show, the product asks no further.
    """
    assert NEAR_DUPLICATE_PAIRS.observe is not None
    own = measured_recall.MIN_QUERIES
    measured_recall.MIN_QUERIES = work.settings.duplicates.recall_queries
    try:
        (found,) = NEAR_DUPLICATE_PAIRS.observe(work, ())
    finally:
        measured_recall.MIN_QUERIES = own
    return dict(found.found)


if __name__ == "__main__":
    main()
