"""Dot products of unit rows: float32 ones with the bound of their error, and exact ones.

Legend: D embedding width, n and m rows, P pairs.

A float64 product in any order is within ``D * 2**-52`` of the true one, so its float32 rounding is
final unless it lies that close to the middle of two float32 numbers; those few are summed by
``math.fsum``. Hence an exact product is the same bits on every machine and in every block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

_DENSE_ENTRIES_PER_PAIR = 8
_CHUNK_ROWS = 128  # a thread; in float64 they and their factors fit the cache of a core
_GPU_CHUNK_ROWS = 4096
_REDUCED_SUMS = (
    "allow_fp16_reduced_precision_reduction",
    "allow_bf16_reduced_precision_reduction",
    "allow_fp16_accumulation",
)


@contextmanager
def full_float32_products() -> Iterator[None]:
    """Products inside are summed in float32, and those of float32 take no TF32 or bfloat16."""
    cublas, mkldnn = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    backends = cublas.fp32_precision, mkldnn.fp32_precision
    sums = {name: getattr(cublas, name) for name in _REDUCED_SUMS}
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # a backend has a precision of its own; this one is as it was at first
        before = "highest"
    torch.set_float32_matmul_precision("highest")
    for name in sums:
        setattr(cublas, name, False)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        cublas.fp32_precision, mkldnn.fp32_precision = backends
        for name, value in sums.items():
            setattr(cublas, name, value)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """How many torch uses inside, on CPU: by how many share a product go its last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def float32_product_error(width: int) -> float:
    """Bound of |float32 dot product - true one| for two unit vectors of ``width`` D."""
    rounding = width * 2.0**-24
    return rounding / (1.0 - rounding) + 1e-6


def exact_cosines(
    left: torch.Tensor, right: torch.Tensor, row: torch.Tensor, column: torch.Tensor
) -> NDArray[np.float32]:
    """Cosine similarities of chosen rows: ``exact_products``, at most 1.

    Returns:
        float32 [P], at most 1.
    """
    return np.minimum(exact_products(left, right, row, column), np.float32(1.0))


def exact_products(
    left: torch.Tensor, right: torch.Tensor, row: torch.Tensor, column: torch.Tensor
) -> NDArray[np.float32]:
    """Dot products of chosen rows, correctly rounded to float32.

    Args:
        left: float32 [n, D], rows of norm about 1.
        right: float32 [m, D], likewise.
        row: int64 [P], rows of ``left``.
        column: int64 [P], rows of ``right``.

    Returns:
        float32 [P].
    """
    value = _float64_products(left, right, row, column).cpu().numpy()
    rounded = value.astype(np.float32)
    error = 4.0 * left.shape[1] * 2.0**-53
    above = (rounded + np.nextafter(rounded, np.float32(2.0)).astype(np.float64)) / 2.0
    below = (rounded + np.nextafter(rounded, np.float32(-2.0)).astype(np.float64)) / 2.0
    for at in np.flatnonzero(np.minimum(np.abs(value - above), np.abs(value - below)) <= error):
        exact = left[row[at]].double() * right[column[at]].double()
        rounded[at] = np.float32(math.fsum(exact.tolist()))
    return rounded


def _float64_products(
    left: torch.Tensor, right: torch.Tensor, row: torch.Tensor, column: torch.Tensor
) -> torch.Tensor:
    """float64 [P], of few rows with each other all at once, else pair by pair."""
    rows, row_at = torch.unique(row, return_inverse=True)
    columns, column_at = torch.unique(column, return_inverse=True)
    if len(rows) * len(columns) <= _DENSE_ENTRIES_PER_PAIR * len(row):
        return (left[rows].double() @ right[columns].double().T)[row_at, column_at]
    n_rows = _CHUNK_ROWS * torch.get_num_threads() if left.is_cpu else _GPU_CHUNK_ROWS
    chunks = zip(torch.split(row, n_rows), torch.split(column, n_rows), strict=True)
    return torch.cat(
        [
            left.index_select(0, i).double().mul_(right.index_select(0, j).double()).sum(dim=1)
            for i, j in chunks
        ]
    )
