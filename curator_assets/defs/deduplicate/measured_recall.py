"""How many near-duplicates the search found, against brute force, as far as that has to be shown.

Legend: *N images, Q queries*.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from curator_assets.defs.deduplicate.pair_search import PairSearch
from curator_assets.storage import layout
from curator_assets.storage.tables.pair_tables import read_pairs
from curator_assets.storage.tables.parquet import embedding_matrix, read_table

if TYPE_CHECKING:
    from curator_assets.kernels.found_pairs import Pairs
    from curator_assets.kernels.recall import Recall

N_TRUE = 1_000
"""Near-duplicates that the check of an exact search looks for: if none of them is missed, 95 % sure
are recalls from .996 up. A fast search is asked as much as the settings allow."""

MIN_QUERIES = 200
MAX_OTHERS = 1_000_000
"""Images that queries are compared with, by shards that are drawn; beyond, time grows and the
certainty does not."""

_KEPT_BYTES = 2**28


def measured_recall(search: PairSearch, groups: Sequence[str]) -> Recall:
    """Recall of the stored pairs of all groups, on a seeded sample of images, old and new.

    Args:
        search: knows the images, and which of them it searched anew.
        groups: all cell groups.
    """
    from curator_assets.kernels.recall import draw_queries, sampled_recall

    settings, numbers = search.settings.duplicates, search.numbers
    pairs = read_pairs(search.store, groups, numbers)
    others = _drawn_shards(search)
    share = sum(search.assigned[shard].state["n_images"] for shard in others) / search.n_images
    queries = draw_queries(
        numbers.n_rows,
        search.new,
        n_queries=_n_queries(search, pairs, share),
        seed=settings.seed,
    )
    read = _Read(search)
    asked, vectors = read.of(queries)
    return sampled_recall(
        asked,
        vectors,
        (read.shard(shard) for shard in others),
        pairs,
        n_rows=numbers.n_rows,
        min_cosine=1 - settings.max_eps,
        device=search.device,
    )


def _n_queries(search: PairSearch, pairs: Pairs, share: float) -> int:
    """How many images have to be asked for to meet the near-duplicates that are wanted."""
    settings = search.settings.duplicates
    if settings.search == "fast":
        return settings.recall_queries
    of_each = 2 * float((~pairs.identical).sum()) / search.n_images * share
    wanted = max(MIN_QUERIES, math.ceil(N_TRUE / max(of_each, 1e-9)))
    return min(settings.recall_queries, wanted)


def _drawn_shards(search: PairSearch) -> list[str]:
    """Shards in order of arrival, drawn until they hold enough images."""
    names = list(search.assigned)
    order = np.random.default_rng(search.settings.duplicates.seed).permutation(len(names))
    n_images = np.array([search.assigned[names[i]].state["n_images"] for i in order])
    n_drawn = 1 + int(np.searchsorted(np.cumsum(n_images), MAX_OTHERS))
    return [names[i] for i in np.sort(order[:n_drawn])]


class _Read:
    """The images of shards, by sample; what was read for the queries is kept while it is small."""

    def __init__(self, search: PairSearch) -> None:
        self._search = search
        self._kept = dict[str, tuple[np.ndarray, np.ndarray]]()
        self._n_bytes = 0

    def shard(self, shard: str) -> tuple[np.ndarray, np.ndarray]:
        """Samples int64 [n] and vectors float32 [n, D]."""
        if shard in self._kept:
            return self._kept.pop(shard)
        table = read_table(self._search.store, layout.embeddings(shard), ["embedding"])
        matrix, rows = embedding_matrix(table)
        return self._search.numbers.rows_of(shard).start + rows, matrix

    def of(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of some samples, int64, ascending, that have an embedding."""
        rows, vectors = list[np.ndarray](), list[np.ndarray]()
        for shard, wanted in self._by_shard(samples):
            there, matrix = found = self.shard(shard)
            if self._n_bytes + matrix.nbytes <= _KEPT_BYTES:
                self._kept[shard] = found
                self._n_bytes += matrix.nbytes
            chosen = np.flatnonzero(np.isin(there, wanted))
            rows.append(there[chosen])
            vectors.append(matrix[chosen])
        return np.concatenate(rows), np.concatenate(vectors)

    def _by_shard(self, samples: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        for shard in self._search.assigned:
            span = self._search.numbers.rows_of(shard)
            first, last = np.searchsorted(samples, [span.start, span.stop])
            if first < last:
                yield shard, samples[first:last]
