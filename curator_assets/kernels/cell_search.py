"""Comparison of the members of one cell, in blocked products of bounded size.

Legend: D embedding width, P pairs, M members of a cell.

The members are the cell's residents, then its visitors, by place; two visitors are never compared.
A product only proposes: what lies within its error bound of the threshold is computed anew, in an
exact arithmetic of its own. Of pairs that were compared before none is compared again, unless there
are too many to be listed: then the cell is searched whole.

A member with more than ``dense_degree`` near neighbours in the cell is *dense*. In a cell with
more than ``dense_degree`` pairs a member, pairs of two dense members are not listed, and hardly
computed: a member is known to be dense as soon as it has met enough neighbours, and only pairs
with one that is not known to be must still be counted. A clump costs a few rows, not its square.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from curator_assets.kernels.cell_members import Cell
from curator_assets.kernels.products import exact_cosines
from curator_assets.kernels.tiles import Tile, TiledProducts

PlacedPairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""Places int64 [P] of a resident and of another member, and float32 [P] cosine."""

NO_PAIRS: PlacedPairs = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)

_CONFIRM_PAIRS = 1024


@dataclass(frozen=True)
class CellSearch:
    """The pairs of a cell from products of whole vectors.

    Attributes:
        products: of the vectors.
        min_cosine: 1 - eps.
        dense_degree: see above; None to list all pairs.
    """

    products: TiledProducts
    min_cosine: float
    dense_degree: int | None

    @property
    def limit(self) -> float:
        """Pairs a member above which some of them are not listed."""
        return math.inf if self.dense_degree is None else self.dense_degree

    def new_pairs(self, cell: Cell, n_known: int) -> PlacedPairs | None:
        """The pairs of a cell that were not compared before.

        Args:
            cell: its members.
            n_known: pairs of the cell that are known.

        Returns:
            The pairs; None if with those that are known there are too many to be listed.
        """
        found, n_near = [NO_PAIRS], n_known
        for tile in cell.tiles(self.products):
            n_near += int(tile.near.count_nonzero())
            if n_near > self.limit * cell.n_members:
                return None
            found.append(self._pairs(tile))
        return joined(found)

    def confirmed(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> PlacedPairs:
        """Those of some pairs (resident, other) that reach the threshold."""
        found = [NO_PAIRS]
        for start in range(0, len(first), _CONFIRM_PAIRS):
            part = slice(start, start + _CONFIRM_PAIRS)
            left, row = np.unique(first[part], return_inverse=True)
            right, column = np.unique(second[part], return_inverse=True)
            rows, columns = self.products.vectors(left), self.products.vectors(right)
            at = (torch.from_numpy(place).to(rows.device) for place in (row, column))
            cosine = exact_cosines(rows, columns, *at)
            kept = cosine >= np.float32(self.min_cosine)
            found.append((first[part][kept], second[part][kept], cosine[kept]))
        return joined(found)

    def all_pairs(
        self, residents: NDArray[np.int64], visitors: NDArray[np.int64]
    ) -> tuple[PlacedPairs, NDArray[np.int64]]:
        """The listed pairs of a cell, whatever was compared before, and who is dense.

        Args:
            residents: int64, by place.
            visitors: int64, likewise, all of them.

        Returns:
            The pairs; the places of dense members, int64.
        """
        members = np.concatenate([residents, visitors])
        dense = self._dense(members, len(residents))
        is_dense, is_visitor = dense[: len(residents)], dense[len(residents) :]
        rows, others = residents[~is_dense], residents[is_dense]
        found = [NO_PAIRS]
        for tile in self.products.tiles(rows, np.concatenate([rows, others, visitors])):
            found.append(self._pairs(tile))
        for tile in self.products.tiles(others, visitors[~is_visitor], apart=True):
            found.append(self._pairs(tile))
        return joined(found), members[dense]

    def _dense(self, members: NDArray[np.int64], n_residents: int) -> NDArray[np.bool_]:
        """Bool [M], who has more than the limit of near neighbours.

        Pairs are left uncounted only once both are known to be dense, so none is missed.
        """
        degree = np.zeros(1 + members.max(initial=-1), np.int64)  # by place
        to_compare = np.ones(len(members), np.bool_)
        while True:
            few = to_compare & (degree[members] <= self.limit)
            chosen = np.flatnonzero(few[:n_residents])[: self.products.tile_rows]
            if not len(chosen):
                break
            to_compare[chosen] = False
            columns = np.concatenate([members[chosen], members[to_compare]])
            _count(degree, self.products.tiles(members[chosen], columns))
        rows = members[:n_residents][to_compare[:n_residents]]
        visitors = members[n_residents:]
        visitors = visitors[degree[visitors] <= self.limit]
        _count(degree, self.products.tiles(rows, visitors, apart=True))
        dense: NDArray[np.bool_] = degree[members] > self.limit
        return dense

    def _pairs(self, tile: Tile) -> PlacedPairs:
        row, column = tile.near.nonzero(as_tuple=True)
        cosine = exact_cosines(tile.rows, tile.columns, row, column)
        kept = cosine >= np.float32(self.min_cosine)
        first, second = tile.first[row.cpu().numpy()], tile.second[column.cpu().numpy()]
        return first[kept], second[kept], cosine[kept]


def joined(parts: Iterable[PlacedPairs]) -> PlacedPairs:
    """All pairs of at least one part."""
    first, second, cosine = (np.concatenate(part) for part in zip(*parts, strict=True))
    return first, second, cosine


def _count(degree: NDArray[np.int64], tiles: Iterable[Tile]) -> None:
    """Add the near neighbours in ``tiles`` to ``degree``, int64 by place."""
    for tile in tiles:
        degree[tile.first] += tile.near.sum(dim=1, dtype=torch.int32).cpu().numpy()
        degree[tile.second] += tile.near.sum(dim=0, dtype=torch.int32).cpu().numpy()
