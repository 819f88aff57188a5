"""Dot products of float32 vectors, rounded once: the same on every machine and in every block.

Legend: D embedding width, P pairs.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

_DENSE_ENTRIES_PER_PAIR = 64
_RECHECK_ROWS = 1024


def exact_cosines(
    left: torch.Tensor, right: torch.Tensor, row: torch.Tensor, column: torch.Tensor
) -> NDArray[np.float32]:
    """Dot products of chosen rows, rounded to float32 from the correctly rounded float64 sum.

    A float64 product in any order is within ``D * 2**-52`` of the true one, so its float32
    rounding is final unless it lies that close to the middle of two float32 numbers; those few
    are summed by ``math.fsum``. Hence the same bits on every device and in every block.

    Args:
        left: float32 [n, D], rows of norm about 1.
        right: float32 [m, D], likewise.
        row: int64 [P], rows of ``left``.
        column: int64 [P], rows of ``right``.

    Returns:
        float32 [P], at most 1.
    """
    if not len(row):
        return np.zeros(0, np.float32)
    rows, row_at = torch.unique(row, return_inverse=True)
    columns, column_at = torch.unique(column, return_inverse=True)
    if len(rows) * len(columns) <= _DENSE_ENTRIES_PER_PAIR * len(row):
        products = (left[rows].double() @ right[columns].double().T)[row_at, column_at]
    else:
        chunks = zip(
            torch.split(row, _RECHECK_ROWS), torch.split(column, _RECHECK_ROWS), strict=True
        )
        products = torch.cat([(left[i].double() * right[j].double()).sum(dim=1) for i, j in chunks])
    value = products.cpu().numpy()
    rounded = value.astype(np.float32)
    error = 4.0 * left.shape[1] * 2.0**-53
    above = (rounded + np.nextafter(rounded, np.float32(2.0)).astype(np.float64)) / 2.0
    below = (rounded + np.nextafter(rounded, np.float32(-2.0)).astype(np.float64)) / 2.0
    for at in np.flatnonzero(np.minimum(np.abs(value - above), np.abs(value - below)) <= error):
        exact = left[row[at]].double() * right[column[at]].double()
        rounded[at] = np.float32(math.fsum(exact.tolist()))
    return np.minimum(rounded, np.float32(1.0))
