"""What a full run reads: each table once in a stage, and nothing again that was just written."""

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from pipeline import Pipeline

from curator_assets.demo.samples import make_shards
from curator_assets.engine import making
from curator_assets.storage import layout
from curator_assets.storage.entries import StoredFile
from curator_assets.storage.store import Store

SUMMED_UP_FIRST = {
    ("curation_report", "shards"): 2,
    ("curation_report", "embeddings"): 2,
    ("curation_report", "tars"): 2,
    ("curation_report", "duplicates"): 3,
    ("duplicate_groups", "duplicates"): 2,
}
"""What is read several times, and never held whole: stage and folder -> how often at most. Report:
thresholds and the span of each score come before their histograms, captions before the pictures,
the sizes of groups before the largest and these before their members. The resolution: identical
images come before the edges between what they form."""


@pytest.fixture(scope="module")
def reads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Counter, Counter]]:
    """Stage, partition and name of each table that was read and of each file that was hashed."""
    tables, hashed, now = Counter[Any](), Counter[Any](), threading.local()
    stages, contain, hash_file = [""], making._contained, Store.hash
    finish, folder = making.finished, tmp_path_factory.mktemp("reads")

    class CountedTable(pq.ParquetFile):
        def __init__(self, source: str, **options: Any) -> None:
            super().__init__(source, **options)
            self.name = str(Path(source).relative_to(folder / "curated"))

        def read(self, **options: Any) -> Any:
            tables[at(), self.name] += 1
            return super().read(**options)

        def read_row_group(self, i: int, **options: Any) -> Any:
            tables[at(), self.name] += i == 0
            return super().read_row_group(i, **options)

    def at() -> tuple[str, str]:
        return stages[0], getattr(now, "partition", "")

    def contained(stage: Any, make_one: Any, work: Any, partition: str) -> Any:
        now.partition = partition
        try:
            return contain(stage, make_one, work, partition)
        finally:
            now.partition = ""

    def finished(stage: Any, *rest: Any) -> Any:
        stages[0] = stage.name
        yield from finish(stage, *rest)

    def counted_hash(store: Store, name: str) -> StoredFile:
        hashed[at(), name] += 1
        return hash_file(store, name)

    make_shards(folder / "tars", n_samples=30, seed=0)
    changes = {"filters": [{"score": "sharpness", "min": 1.0}]}
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        patch.setattr(pq, "ParquetFile", CountedTable)
        patch.setattr(making, "_contained", contained)
        patch.setattr(making, "finished", finished)
        patch.setattr(Store, "hash", counted_hash)
        Pipeline(folder, instance, changes).run_all()
    yield tables, hashed


def test_no_table_is_read_twice_in_one_stage(reads):
    tables, _ = reads
    assert {stage for (stage, _), _ in tables} == {
        "image_embeddings",  # for the index
        "filter_scores",
        "centroids",
        "cluster_assignments",
        "near_duplicate_pairs",
        "duplicate_groups",
        "duplicate_ids",
        "deduplicated_shards",
        "curation_report",
    }
    for ((stage, partition), name), n in tables.items():
        most = SUMMED_UP_FIRST.get((stage, name.partition("/")[0]), 1)
        assert n <= most, f"{stage} of {partition!r} reads {name} {n} times"


def test_nothing_is_read_again_to_be_hashed_but_the_codebook(reads):
    assert {name for _, name in reads[1]} <= {layout.CENTROIDS, layout.PREFIX_DIRECTIONS}
