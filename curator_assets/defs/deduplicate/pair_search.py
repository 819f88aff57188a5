"""All embeddings and cell assignments side by side: what a search for pairs works on.

*Sample*: row number among all samples of the shards; *image*: among those with an embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from curator_assets.defs.deduplicate.cluster_assignments import cell_group_of
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.ledger import Entry
from curator_assets.storage.store import Store
from curator_assets.storage.tables.assignments import assignment_of, read_centroids
from curator_assets.storage.tables.pair_tables import (
    RowNumbers,
    dense_table,
    pair_table,
    read_pairs,
)
from curator_assets.storage.tables.parquet import read_table
from curator_assets.storage.tables.scratch import all_embeddings

if TYPE_CHECKING:
    from curator_assets.kernels.cells import CellAssignment
    from curator_assets.kernels.recall import Recall


@dataclass(frozen=True)
class PairSearch:
    """A search over all images of some shards.

    Attributes:
        embeddings: float32 [N, D], unit norm.
        assignment: of the N images.
        sample_of_image: int64 [N], ascending.
        numbers: names of samples.
        group_of: int64 [K], the cell group of each cell.
    """

    store: Store
    settings: Settings
    device: str
    embeddings: np.ndarray
    assignment: CellAssignment
    sample_of_image: np.ndarray
    numbers: RowNumbers
    group_of: np.ndarray

    @property
    def n_images(self) -> int:
        """How many images are searched."""
        return len(self.sample_of_image)

    def tables(self, group: str) -> tuple[pa.Table, pa.Table]:
        """The pairs that fall to a cell group, and the members whose pairs are not listed."""
        from curator_assets.kernels.pairs import find_pairs

        found = find_pairs(
            self.embeddings,
            self.assignment,
            cells=np.flatnonzero(self.group_of == int(group)),
            min_cosine=1 - self.settings.duplicates.max_eps,
            product_dtype="float32",
            device=self.device,
        )
        same_cell = self.assignment.home[found.a] == self.assignment.home[found.b]
        sample = self.sample_of_image
        dense = replace(found.dense, row=sample[found.dense.row])
        named = replace(found, a=sample[found.a], b=sample[found.b], dense=dense)
        return pair_table(named, same_cell, self.numbers), dense_table(dense, self.numbers)

    def cost(self) -> dict[str, float]:
        """The share of all pairs that the search compares, and how uneven the cells are."""
        n_cells = len(self.group_of)
        residents = np.bincount(self.assignment.home, minlength=n_cells).astype(np.float64)
        visitors = np.bincount(self.assignment.visits, minlength=n_cells)
        compared = (residents * (residents - 1) / 2 + residents * visitors).sum()
        n = float(self.n_images)
        return {
            "share_of_brute_force": min(1.0, float(compared) / max(n * (n - 1) / 2, 1.0)),
            "skew": float((residents**2).sum() / max(n**2 / n_cells, 1.0)),
            "visits_per_image": len(self.assignment.visits) / max(n, 1.0),
        }

    def recall(self, groups: Sequence[str], *, n_queries: int) -> Recall:
        """Recall of the stored pairs of all groups, on a seeded sample of queries."""
        from curator_assets.kernels.recall import sampled_recall

        pairs = read_pairs(self.store, groups, self.numbers)
        image = self._image_of
        return sampled_recall(
            self.embeddings,
            replace(
                pairs,
                a=image(pairs.a),
                b=image(pairs.b),
                dense=replace(pairs.dense, row=image(pairs.dense.row)),
            ),
            min_cosine=1 - self.settings.duplicates.max_eps,
            n_queries=n_queries,
            seed=self.settings.duplicates.seed,
            device=self.device,
        )

    def _image_of(self, sample: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.sample_of_image, sample)


@contextmanager
def open_search(
    store: Store, assigned: Mapping[str, Entry], settings: Settings
) -> Iterator[PairSearch]:
    """A search over all images of the shards in `assigned`, with their ledger entries."""
    from curator_assets.kernels.cells import CellAssignment
    from curator_assets.kernels.device import resolve_device

    tables = [read_table(store, layout.assignments(shard)) for shard in assigned]
    numbers = RowNumbers({shard: entry.state["n_samples"] for shard, entry in assigned.items()})
    rows = [
        numbers.rows_of(shard).start + table["position"].to_numpy()
        for shard, table in zip(assigned, tables, strict=True)
    ]
    sample_of_image = np.concatenate(rows) if rows else np.zeros(0, np.int64)
    n_clusters, width = read_centroids(store).shape
    with all_embeddings(store, assigned, len(sample_of_image), width) as embeddings:
        yield PairSearch(
            store=store,
            settings=settings,
            device=resolve_device(settings.model.device),
            embeddings=embeddings,
            assignment=CellAssignment.concatenate([assignment_of(table) for table in tables]),
            sample_of_image=sample_of_image,
            numbers=numbers,
            group_of=cell_group_of(n_clusters, settings.clusters.n_cell_groups),
        )
