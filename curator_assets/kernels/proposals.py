"""Pairs that may be near by the bound of their prefixes, and which of them are.

Legend: D embedding width, p directions of a prefix, P pairs.

Whole vectors are read of proposed pairs only. A pair costs as much to confirm as 24 products in a
matrix (docs/log.md), so where too many pass the bound, the vectors are compared at once.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from curator_assets.kernels.cell_group import CellGroup, Vectors
from curator_assets.kernels.cell_members import Cell
from curator_assets.kernels.products import float32_product_error
from curator_assets.kernels.tiles import TiledProducts

_CONFIRMING = 24
_WORTH_IT = 0.5
_TRIAL_PAIRS = 2**22
_FEW_PAIRS = 2**12
_CONFIRM_ROWS = 1024


class VectorCache:
    """Vectors of some places on a device; those of others are read when they are asked for.

    Args:
        vectors: of places.
        max_rows: held at a time.
        device: torch device.
    """

    def __init__(self, vectors: Vectors, max_rows: int, device: str) -> None:
        self.max_rows = max_rows
        self._vectors, self._device = vectors, device
        self._places = np.zeros(0, np.int64)
        self._matrix = torch.zeros((0, 0), device=device)

    def hold(self, places: NDArray[np.int64]) -> None:
        """Hold the vectors of ``places`` instead, ascending; none if they are too many."""
        self._places = places if len(places) <= self.max_rows else places[:0]
        self._matrix = self._read(self._places)

    def __call__(self, places: NDArray[np.int64]) -> torch.Tensor:
        """float32 [n, D] of int64 [n], on the device."""
        if not len(self._places):
            return self._read(places)
        at = np.searchsorted(self._places, places)
        at[at == len(self._places)] = 0
        if (self._places[at] != places).any():
            return self._read(places)
        return self._matrix.index_select(0, torch.from_numpy(at).to(self._device))

    def _read(self, places: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(self._vectors(places))).to(self._device)


class Proposals:
    """What the prefixes of a group propose.

    Args:
        group: whose prefixes are compared; without any, nothing is proposed.
        min_cosine: 1 - eps.
        products: makes products of the vectors it is given.
        device: torch device of the products.
    """

    def __init__(
        self,
        group: CellGroup,
        min_cosine: float,
        products: Callable[..., TiledProducts],
        device: str,
    ) -> None:
        self._n_in_vain = 0
        self._products: TiledProducts | None = None
        if group.prefix is not None:
            prefix = torch.from_numpy(group.prefix).to(device)
            self._products = products(
                vectors=lambda at: prefix.index_select(0, torch.from_numpy(at).to(device)),
                threshold=min_cosine - group.prefix_slack,
                error=float32_product_error(group.prefix.shape[1]),
            )

    @property
    def n_compared(self) -> int:
        """Pairs of which the bound was taken."""
        return 0 if self._products is None else self._products.n_compared

    def of(self, cell: Cell) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Places (resident, other) of the pairs that may be near and were not compared before.

        Returns:
            int64 [P], int64 [P]; None if whole vectors had better be compared.
        """
        if self._products is None or not self._pays():
            return None
        before, found = self.n_compared, [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
        n_found = 0
        for tile in cell.tiles(self._products):
            row, column = tile.near.nonzero(as_tuple=True)
            n_found += len(row)
            n_compared = self.n_compared - before
            if n_found > max(_FEW_PAIRS, n_compared // _CONFIRMING):
                self._n_in_vain += n_compared
                return None
            found.append((tile.first[row.cpu().numpy()], tile.second[column.cpu().numpy()]))
        first, second = (np.concatenate(part) for part in zip(*found, strict=True))
        return first, second

    def _pays(self) -> bool:
        """Not once most of the bounds were taken in vain."""
        is_tried = self.n_compared > _TRIAL_PAIRS
        return not is_tried or self._n_in_vain < _WORTH_IT * self.n_compared


def near_pairs(
    first: NDArray[np.int64], second: NDArray[np.int64], products: TiledProducts
) -> NDArray[np.bool_]:
    """Bool [P]: which pairs of places may be near by a float32 product of whole vectors."""
    near = [np.zeros(0, np.bool_)]
    for start in range(0, len(first), _CONFIRM_ROWS):
        part = slice(start, start + _CONFIRM_ROWS)
        left, right = products.vectors(first[part]), products.vectors(second[part])
        product = torch.linalg.vecdot(left, right)
        near.append((product >= products.threshold - products.error).cpu().numpy())
    return np.concatenate(near)
