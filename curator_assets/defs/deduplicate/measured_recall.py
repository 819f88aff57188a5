"""How many near-duplicates the search found, against brute force, as far as that has to be shown.

Legend: *N images, Q queries*.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
"""Near-duplicates that the check of an exact search looks for: if none of them is missed, and they
were independent, recalls from .996 up are 95 % sure. A fast search is asked as much as the settings
allow."""

MIN_QUERIES = 200
MAX_OTHERS = 1_000_000
"""Images that queries are compared with: those of shards with new ones first, then of others that
are drawn. Of more images fewer near-duplicates of a query are met; how many were is told."""

_KEPT_BYTES = 2**28


def measured_recall(
    search: PairSearch, groups: Sequence[str], new: np.ndarray
) -> tuple[Recall, dict[str, int]]:
    """Recall of the stored pairs of all groups, on a seeded sample of images, old and new.

    Half of the queries are new where there are as many, so it is no estimate over all images.

    Args:
        search: knows the images.
        groups: all cell groups.
        new: int64, ascending, the samples that were searched anew.

    Returns:
        The recall; of how many new queries it is, and how many images they were compared with.
    """
    from curator_assets.kernels.recall import draw_queries, sampled_recall

    settings, numbers = search.settings.duplicates, search.numbers
    pairs = read_pairs(search.store, groups, numbers)
    others = _drawn_shards(search, new)
    n_others = sum(search.assigned[shard].state["n_images"] for shard in others)
    queries = draw_queries(
        numbers.n_rows,
        new,
        n_queries=_n_queries(search, pairs, n_others / search.n_images),
        seed=settings.seed,
    )
    read = _Read(search)
    asked, vectors = read.of(queries)
    recall = sampled_recall(
        asked,
        vectors,
        (read.shard(shard) for shard in others),
        pairs,
        n_rows=numbers.n_rows,
        min_cosine=1 - settings.max_eps,
        device=search.device,
    )
    return recall, {"n_new_queries": int(np.isin(asked, new).sum()), "n_others": n_others}


def _n_queries(search: PairSearch, pairs: Pairs, share: float) -> int:
    """How many images have to be asked for to meet the near-duplicates that are wanted."""
    settings = search.settings.duplicates
    if settings.search == "fast":
        return settings.recall_queries
    of_each = 2 * float((~pairs.identical).sum()) / search.n_images * share
    wanted = max(MIN_QUERIES, math.ceil(N_TRUE / max(of_each, 1e-9)))
    return min(settings.recall_queries, wanted)


def _drawn_shards(search: PairSearch, new: np.ndarray) -> list[str]:
    """Shards in order of arrival, with new images first, until they hold enough of them."""
    names, numbers = list(search.assigned), search.numbers
    order = np.random.default_rng(search.settings.duplicates.seed).permutation(len(names))
    spans = [numbers.rows_of(names[i]) for i in order]
    edges = np.array([[span.start, span.stop] for span in spans])
    has_new = np.diff(np.searchsorted(new, edges), axis=1)[:, 0] > 0
    order = order[np.argsort(~has_new, kind="stable")]
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
        for shard, wanted in self._search.numbers.by_shard(samples):
            there, matrix = found = self.shard(shard)
            if self._n_bytes + matrix.nbytes <= _KEPT_BYTES:
                self._kept[shard] = found
                self._n_bytes += matrix.nbytes
            chosen = np.flatnonzero(np.isin(there, wanted))
            rows.append(there[chosen])
            vectors.append(matrix[chosen])
        return np.concatenate(rows), np.concatenate(vectors)
