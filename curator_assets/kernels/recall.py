"""How many near-duplicates a search found, against brute force on a sample of queries.

Legend: *N images, D embedding width, Q queries, P pairs*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from curator_assets.kernels.found_pairs import Pairs
from curator_assets.kernels.products import float32_product_error, full_float32_products

TIE = 1e-6
_TILE_COLUMNS = 65_536
_QUERY_ROWS = 256
_RECHECK_ROWS = 8192


@dataclass(frozen=True)
class Recall:
    """Near-duplicates of the queries, pairs within 1e-6 of the threshold left out.

    Attributes:
        n_queries: Q.
        n_true: near-duplicates that brute force finds, copies of one vector counted once.
        n_found: how many of them the search found.
        n_ties: pairs so near the threshold that rounding decides, not counted.
    """

    n_queries: int
    n_true: int
    n_found: int
    n_ties: int

    @property
    def recall(self) -> float:
        """Share found, 1.0 if there was nothing to find."""
        return self.n_found / self.n_true if self.n_true else 1.0

    def interval(self) -> tuple[float, float]:
        """95 % Wilson score interval of the recall."""
        z, n = 1.96, max(self.n_true, 1)
        centre = (self.recall + z * z / (2 * n)) / (1 + z * z / n)
        half = (
            z
            / (1 + z * z / n)
            * math.sqrt(self.recall * (1 - self.recall) / n + z * z / (4 * n * n))
        )
        return max(0.0, centre - half), min(1.0, centre + half)


def sampled_recall(
    embeddings: np.ndarray,
    pairs: Pairs,
    *,
    min_cosine: float,
    n_queries: int,
    seed: int,
    device: str,
) -> Recall:
    """Recall of `pairs` on a seeded sample of queries.

    Args:
        embeddings: float32 [N, D], unit L2 norm; an array or a memory map.
        pairs: what the search found at `min_cosine`, of all N images.
        min_cosine: threshold of the search.
        n_queries: at most so many queries.
        seed: of their choice.
        device: torch device of the products; holds the queries and one block of images at a time.
    """
    first = np.arange(len(embeddings))
    first[pairs.b[pairs.identical]] = pairs.a[pairs.identical]
    distinct = np.flatnonzero(first == np.arange(len(embeddings)))
    rng = np.random.default_rng(seed)
    queries = np.sort(rng.permutation(distinct)[:n_queries])
    known = _Known.of(pairs, len(embeddings))
    n_true = n_found = n_ties = 0
    asked = _fetch(embeddings, queries, device)
    for left in range(0, len(distinct), _TILE_COLUMNS):
        others = distinct[left : left + _TILE_COLUMNS]
        block = _fetch(embeddings, others, device)
        for top in range(0, len(queries), _QUERY_ROWS):
            row, column, margin = _near(asked[top : top + _QUERY_ROWS], block, min_cosine)
            query, other = queries[top + row], others[column]
            another = query != other
            n_ties += int((another & (np.abs(margin) <= TIE)).sum())
            true = another & (margin > TIE)
            n_true += int(true.sum())
            n_found += int(known.holds(query[true], other[true]).sum())
    return Recall(len(queries), n_true, n_found, n_ties)


def _fetch(embeddings: np.ndarray, rows: np.ndarray, device: str) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(embeddings[rows])).to(device)


def _near(
    queries: torch.Tensor, others: torch.Tensor, min_cosine: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and float64 cosine less the threshold of what is above it, or not far below."""
    unsure_within = float32_product_error(queries.shape[1]) + 2.0 * TIE
    with full_float32_products():
        products = queries @ others.T
    row, column = (products >= min_cosine - unsure_within).nonzero(as_tuple=True)
    margin = products[row, column].double() - min_cosine
    unsure = (margin.abs() <= unsure_within).nonzero()[:, 0]
    for at in torch.split(unsure, _RECHECK_ROWS):
        exact = queries[row[at]].double() * others[column[at]].double()
        margin[at] = exact.sum(dim=1) - min_cosine
    return row.cpu().numpy(), column.cpu().numpy(), margin.cpu().numpy()


@dataclass(frozen=True)
class _Known:
    """What the search knows: listed pairs, and pools that are compared when they are resolved."""

    n_rows: int
    keys: np.ndarray  # int64, ascending: low row * N + high row
    pools: dict[int, frozenset[tuple[int, bool]]]  # row -> its pools, and whether it lives there

    @classmethod
    def of(cls, pairs: Pairs, n_rows: int) -> _Known:
        pools: dict[int, set[tuple[int, bool]]] = {}
        for row, cell, resident in zip(
            pairs.dense.row.tolist(),
            pairs.dense.cell.tolist(),
            pairs.dense.resident.tolist(),
            strict=True,
        ):
            pools.setdefault(row, set()).add((cell, resident))
        keys = np.sort(pairs.a * n_rows + pairs.b)
        return cls(n_rows, keys, {row: frozenset(cells) for row, cells in pools.items()})

    def holds(self, query: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Bool [P]: whether each pair is known."""
        key = np.minimum(query, other) * self.n_rows + np.maximum(query, other)
        place = np.searchsorted(self.keys, key)
        known = np.zeros(len(key), dtype=bool)
        inside = place < len(self.keys)
        known[inside] = self.keys[place[inside]] == key[inside]
        for at in np.flatnonzero(~known) if self.pools else ():
            known[at] = self._share_a_pool(int(query[at]), int(other[at]))
        return known

    def _share_a_pool(self, one: int, two: int) -> bool:
        theirs = dict(self.pools.get(two, ()))
        return any(
            cell in theirs and (resident or theirs[cell])
            for cell, resident in self.pools.get(one, ())
        )
