"""Comparison of the members of one cell, in blocked products of bounded size.

Legend: D embedding width, P pairs, M members of a cell, T rows and C columns of a tile.

The members are the cell's residents, then its visitors; a *place* is an index among them. Two
visitors are never compared. A product only proposes: what lies within its error bound of the
threshold is computed anew, in an exact arithmetic of its own.

A member with more than ``dense_degree`` near neighbours in the cell is *dense*. In a cell with
more than ``dense_degree`` pairs a member, pairs of two dense members are not listed, and hardly
computed: a member is known to be dense as soon as it has met enough neighbours, and only pairs
with one that is not known to be must still be counted. A clump costs a few rows, not its square.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from curator_assets.kernels.products import exact_cosines, float32_product_error

UNIT_ROUNDOFF = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


@dataclass(frozen=True)
class _Tile:
    """Some residents against some members: which pairs may be near."""

    first: NDArray[np.int64]  # places of the rows, [T]
    second: NDArray[np.int64]  # places of the columns, [C]
    rows: torch.Tensor  # float32 [T, D]
    columns: torch.Tensor  # float32 [C, D]
    near: torch.Tensor  # bool [T, C]


@dataclass(frozen=True)
class CellSearch:
    """The pairs of a cell; the arguments are those of ``find_pairs``."""

    embeddings: NDArray[np.float32]
    min_cosine: float
    product_dtype: str
    device: str
    dense_degree: int | None
    tile_rows: int
    tile_columns: int

    def cell(
        self, members: NDArray[np.int64], n_residents: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """Places (resident, other) and cosines of the listed pairs, and the dense places.

        Args:
            members: int64 [M], rows of the embeddings, residents first.
            n_residents: how many of them are.

        Returns:
            int64 [P], int64 [P], float32 [P]; int64, ascending, empty if all pairs are listed.
        """
        limit = math.inf if self.dense_degree is None else self.dense_degree
        everyone = np.arange(len(members))
        found, n_near = [], 0
        for tile in self._tiles(members, everyone[:n_residents], everyone):
            n_near += int(tile.near.count_nonzero())
            if n_near > limit * len(members):
                dense = self._dense(members, n_residents, limit)
                found = [self._pairs(tile) for tile in self._sparse(members, n_residents, dense)]
                break
            found.append(self._pairs(tile))
        else:
            dense = np.zeros(len(members), np.bool_)
        none = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
        first, second, cosine = (np.concatenate(part) for part in zip(none, *found, strict=True))
        return first, second, cosine, np.flatnonzero(dense)

    def _dense(
        self, members: NDArray[np.int64], n_residents: int, limit: float
    ) -> NDArray[np.bool_]:
        """Bool [M], who has more than ``limit`` near neighbours.

        Pairs are left uncounted only once both are known to be dense, so none is missed.
        """
        degree = np.zeros(len(members), np.int64)
        to_compare = np.ones(len(members), np.bool_)
        while True:
            rows = np.flatnonzero((to_compare & (degree <= limit))[:n_residents])[: self.tile_rows]
            if not len(rows):
                break
            to_compare[rows] = False
            columns = np.concatenate([rows, np.flatnonzero(to_compare)])
            _count(degree, self._tiles(members, rows, columns))
        rows = np.flatnonzero(to_compare[:n_residents])
        visitors = n_residents + np.flatnonzero(degree[n_residents:] <= limit)
        _count(degree, self._tiles(members, rows, visitors, apart=True))
        return degree > limit

    def _sparse(
        self, members: NDArray[np.int64], n_residents: int, dense: NDArray[np.bool_]
    ) -> Iterator[_Tile]:
        """Tiles of all pairs but those of two dense members."""
        places = np.arange(len(members))
        residents, visitors = places[:n_residents], places[n_residents:]
        rows, others = residents[~dense[residents]], residents[dense[residents]]
        yield from self._tiles(members, rows, np.concatenate([rows, others, visitors]))
        yield from self._tiles(members, others, visitors[~dense[visitors]], apart=True)

    def _tiles(
        self,
        members: NDArray[np.int64],
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        *,
        apart: bool = False,
    ) -> Iterator[_Tile]:
        """Places ``rows`` against ``columns``, which begin with the rows unless ``apart``."""
        for left in range(0, len(columns), self.tile_columns):
            second = columns[left : left + self.tile_columns]
            block = self._fetch(members[second])
            reduced = block.to(getattr(torch, self.product_dtype))
            stop = len(rows) if apart else min(len(rows), left + len(second))
            for top in range(0, stop, self.tile_rows):
                first = rows[top : min(top + self.tile_rows, stop)]
                tile = self._fetch(members[first])
                near = tile.to(reduced.dtype) @ reduced.T >= self._limit()
                if not apart:
                    near.triu_(top - left + 1)
                yield _Tile(first, second, tile, block, near)

    def _pairs(
        self, tile: _Tile
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Places and cosines of a tile's pairs."""
        row, column = tile.near.nonzero(as_tuple=True)
        cosine = exact_cosines(tile.rows, tile.columns, row, column)
        kept = cosine >= np.float32(self.min_cosine)
        first, second = tile.first[row.cpu().numpy()], tile.second[column.cpu().numpy()]
        return first[kept], second[kept], cosine[kept]

    def _fetch(self, rows: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.embeddings[rows])).to(self.device)

    def _limit(self) -> float:
        """Product above which a pair may reach the threshold.

        Rounding both factors, the product and this limit itself to the reduced type costs a unit
        roundoff each; the sum is float32, truncated rather than rounded by tensor cores.
        """
        error = float32_product_error(self.embeddings.shape[1])
        if self.product_dtype == "float32":
            return self.min_cosine - error
        return self.min_cosine - 4.0 * UNIT_ROUNDOFF[self.product_dtype] - 2.0 * error


def _count(degree: NDArray[np.int64], tiles: Iterable[_Tile]) -> None:
    """Add the near neighbours in ``tiles`` to ``degree``, int64 [M]."""
    for tile in tiles:
        degree[tile.first] += tile.near.sum(dim=1, dtype=torch.int32).cpu().numpy()
        degree[tile.second] += tile.near.sum(dim=0, dtype=torch.int32).cpu().numpy()
