"""How many near-duplicates a search found, against brute force on a sample of queries.

Legend: *N images, D embedding width, Q queries, P pairs*.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

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


def draw_queries(
    n_rows: int, new: NDArray[np.int64], *, n_queries: int, seed: int
) -> NDArray[np.int64]:
    """int64, ascending: a seeded sample of rows, as many of new ones as of others.

    Args:
        n_rows: of all.
        new: int64, the rows that were searched last.
        n_queries: at most so many; where there are too few of one kind, more of the other.
        seed: of the choice.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.choice(n_rows, min(n_rows, n_queries + len(new)), replace=False)
    others = drawn[~np.isin(drawn, new)]
    n_new = min(len(new), max(n_queries // 2, n_queries - len(others)))
    chosen = rng.choice(new, n_new, replace=False)
    return np.sort(np.concatenate([chosen, others[: n_queries - n_new]]))


def sampled_recall(
    queries: NDArray[np.int64],
    asked: NDArray[np.float32],
    blocks: Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]],
    pairs: Pairs,
    *,
    n_rows: int,
    min_cosine: float,
    device: str,
) -> Recall:
    """Recall of ``pairs`` between queries and other images.

    Args:
        queries: int64 [Q], rows, ascending; copies of a vector are not asked for.
        asked: float32 [Q, D], unit L2 norm, their vectors.
        blocks: rows int64 [n] of other images, ascending, and their vectors float32 [n, D].
        pairs: what the search found at ``min_cosine``, of all images.
        n_rows: above all rows.
        min_cosine: threshold of the search.
        device: torch device of the products; holds the queries and one block of images at a time.
    """
    is_copy = np.zeros(n_rows, np.bool_)
    is_copy[pairs.b[pairs.identical]] = True
    one_each = np.flatnonzero(~is_copy[queries])
    queries = queries[one_each]
    vectors = torch.from_numpy(np.ascontiguousarray(asked[one_each])).to(device)
    known = _Known.of(pairs, n_rows)
    n_true = n_found = n_ties = 0
    for others, block in _tiles(blocks, is_copy, device):
        for top in range(0, len(queries), _QUERY_ROWS):
            row, column, margin = _near(vectors[top : top + _QUERY_ROWS], block, min_cosine)
            query, other = queries[top + row], others[column]
            another = query != other
            n_ties += int((another & (np.abs(margin) <= TIE)).sum())
            true = another & (margin > TIE)
            n_true += int(true.sum())
            n_found += int(known.holds(query[true], other[true]).sum())
    return Recall(len(queries), n_true, n_found, n_ties)


def _tiles(
    blocks: Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]],
    is_copy: NDArray[np.bool_],
    device: str,
) -> Iterator[tuple[NDArray[np.int64], torch.Tensor]]:
    """Rows and vectors of different images, some at a time, on the device."""
    for rows, vectors in blocks:
        one_each = np.flatnonzero(~is_copy[rows])
        for left in range(0, len(one_each), _TILE_COLUMNS):
            chosen = one_each[left : left + _TILE_COLUMNS]
            block = torch.from_numpy(np.ascontiguousarray(vectors[chosen]))
            yield rows[chosen], block.to(device)


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
