"""A project whose images are embedded: shards of made-up embeddings, without tars."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curator_assets.cli.codebook_lines import codebook_lines
from curator_assets.defs.deduplicate.centroids import CENTROIDS
from curator_assets.defs.deduplicate.cluster_assignments import CLUSTER_ASSIGNMENTS
from curator_assets.defs.deduplicate.near_duplicate_pairs import NEAR_DUPLICATE_PAIRS
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.source.tar_shards import TAR_SHARDS
from curator_assets.engine.freshness import examine
from curator_assets.engine.making import Recorded, make
from curator_assets.engine.plan import plan
from curator_assets.engine.stage import Observed
from curator_assets.engine.work import Purpose, Work
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.ledger import Entry
from curator_assets.storage.tables.parquet import write_table
from curator_assets.storage.versions import hash_of

STAGES = (CENTROIDS, CLUSTER_ASSIGNMENTS, NEAR_DUPLICATE_PAIRS)
BYTES_AN_IMAGE = 100


def _schema(dim: int) -> pa.Schema:
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("shard", pa.string(), nullable=False),
            pa.field("position", pa.int32(), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), dim)),
        ]
    )


@dataclass
class EmbeddedProject:
    """Shards of made-up embeddings, and the stages from the codebook to the pairs."""

    folder: Path
    clusters: dict[str, Any] = field(default_factory=dict)
    duplicates: dict[str, Any] = field(default_factory=dict)
    dim: int = 8
    tars: dict[str, int] = field(default_factory=dict)
    made: dict[str, list[str]] = field(default_factory=dict)

    def work(self, purpose: Purpose = Purpose.MAKE, *, is_forced: bool = False) -> Work:
        settings = Settings(
            source=str(self.folder / "tars"),
            output=str(self.folder / "out"),
            model={"device": "cpu"},
            clusters={"n_cell_groups": 2} | self.clusters,
            duplicates={"recall_queries": 0} | self.duplicates,
        )
        sizes = {shard: n * BYTES_AN_IMAGE for shard, n in self.tars.items()}
        work = Work(
            settings,
            tuple(self.tars),
            logging.getLogger(),
            purpose,
            n_bytes=sizes,
            is_forced=is_forced,
        )
        work.weights.loaded("sha256:0")
        return work

    def embed(self, shard: str, n: int, *, towards: int | None = None, by: float = 0.3) -> None:
        """A shard of random unit vectors, in all directions or about an axis."""
        rng = np.random.default_rng(list(shard.encode()))
        rows = rng.normal(size=(n, self.dim))
        if towards is not None:
            rows = by * rows + np.eye(self.dim)[towards]
        self.put(shard, rows / np.linalg.norm(rows, axis=1, keepdims=True))

    def put(self, shard: str, rows: np.ndarray) -> None:
        """A shard of these unit vectors, float [n, D]; it replaces one of its name."""
        n, schema = len(rows), _schema(self.dim)
        table = pa.table(
            {
                "image_id": [f"{shard}/{i}" for i in range(n)],
                "shard": [shard] * n,
                "position": np.arange(n, dtype=np.int32),
                "embedding": pa.FixedSizeListArray.from_arrays(
                    rows.astype(np.float32).reshape(-1), self.dim
                ),
            },
            schema=schema,
        )
        work = self.work()
        write_table(work.store, layout.embeddings(shard), table, schema)
        entry = Entry("", hash_of(rows.tobytes().hex()), state={"n_samples": n, "n_unreadable": 0})
        work.ledger.write(IMAGE_EMBEDDINGS.name, shard, entry)
        work.ledger.write(TAR_SHARDS.name, shard, Entry(f"size={n * BYTES_AN_IMAGE},", ""))
        self.tars[shard] = n

    def remove(self, shard: str) -> None:
        """Let go of a shard."""
        work = self.work()
        for stage in (IMAGE_EMBEDDINGS, TAR_SHARDS, CLUSTER_ASSIGNMENTS):
            work.ledger.remove(stage.name, shard)
        del self.tars[shard]

    def refresh(self, *, force: bool = False) -> dict[str, int]:
        """How many partitions of each stage were made; afterwards all are fresh."""
        work = self.work(is_forced=force)
        for stage in STAGES:
            found = examine(stage, work, work.partitions(stage), force=force)
            outcomes = list(make(stage, found.stale, work))
            assert not found.failed and not found.undecided
            assert all(isinstance(outcome, Recorded) for outcome in outcomes), outcomes
            self.made[stage.name] = [outcome.partition for outcome in outcomes]
        assert not any(self.stale(purpose) for purpose in Purpose)
        return {name: len(partitions) for name, partitions in self.made.items()}

    def observe(self) -> list[Observed]:
        """Make what is stale; what is observed of the whole."""
        work, observed = self.work(), list[Observed]()
        for stage in STAGES:
            found = examine(stage, work, work.partitions(stage))
            outcomes = make(stage, found.stale, work)
            observed += [outcome for outcome in outcomes if isinstance(outcome, Observed)]
        return observed

    def stale(self, purpose: Purpose = Purpose.PLAN) -> dict[str, str]:
        """What a refresh would make first, and why."""
        found = examine(CENTROIDS, self.work(purpose), [""])
        return found.stale | found.undecided

    def words(self) -> str:
        work = self.work(Purpose.PLAN)
        return "\n".join(codebook_lines(plan(STAGES[:1], work), work))

    @property
    def entry(self) -> Entry:
        return self.work().require(CENTROIDS)
