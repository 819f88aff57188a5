"""Which pairs of images may be near: blocked products of bounded size, on any device.

Legend: D width of the vectors, T rows and C columns of a tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

UNIT_ROUNDOFF = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


@dataclass(frozen=True)
class Tile:
    """Some images against some others: which pairs may be near."""

    first: NDArray[np.int64]  # places of the rows, [T]
    second: NDArray[np.int64]  # places of the columns, [C]
    rows: torch.Tensor  # float32 [T, D]
    columns: torch.Tensor  # float32 [C, D]
    near: torch.Tensor  # bool [T, C]


@dataclass
class TiledProducts:
    """Products of vectors, a tile at a time, and of how many pairs.

    Attributes:
        vectors: float32 [n, D] of int64 [n] places, on the device of the products.
        threshold: that the true product of a near pair reaches.
        error: bound of a float32 product's error.
        dtype: that the products are taken in, of ``UNIT_ROUNDOFF``.
        tile_rows: of one product.
        tile_columns: of one product.
        n_compared: pairs so far.
    """

    vectors: Callable[[NDArray[np.int64]], torch.Tensor]
    threshold: float
    error: float
    dtype: str
    tile_rows: int
    tile_columns: int
    n_compared: int = 0

    def tiles(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64], *, apart: bool = False
    ) -> Iterator[Tile]:
        """Places ``rows`` against ``columns``, which begin with the rows unless ``apart``.

        Rounding both factors, the product and the limit itself to a reduced type costs a unit
        roundoff each; the sum is float32, truncated rather than rounded by tensor cores.
        """
        if not len(rows):
            return
        limit, dtype = self.threshold - self.error, getattr(torch, self.dtype)
        if dtype is not torch.float32:
            limit -= 4.01 * UNIT_ROUNDOFF[self.dtype] + self.error
        for left in range(0, len(columns), self.tile_columns):
            second = columns[left : left + self.tile_columns]
            block = self.vectors(second)
            reduced = block.to(dtype)
            stop = len(rows) if apart else min(len(rows), left + len(second))
            for top in range(0, stop, self.tile_rows):
                first = rows[top : min(top + self.tile_rows, stop)]
                tile = self.vectors(first)
                near = tile.to(dtype) @ reduced.T >= limit
                self.n_compared += near.numel()
                if not apart:
                    near.triu_(top - left + 1)
                    behind = top - left + 1 + np.arange(len(first))  # themselves, and those before
                    self.n_compared -= int(np.clip(behind, 0, len(second)).sum())
                yield Tile(first, second, tile, block, near)
