"""An upper bound of the cosine of two vectors, from a few numbers of each.

Legend: N images, D embedding width, p directions.

Let B [D, p] have nearly orthonormal columns. Of a unit vector x its *prefix* holds y, which is B'x
but for rounding, and an upper bound r of the norm of the rest e = x - By. By Cauchy-Schwarz
``y.y' + r r'`` bounds the cosine of two vectors, but for what ``slack`` covers. Let ``delta`` be
the norm of B'B - I, and ``eta`` bound ``|y - B'x|``; norms of x and y are at most 1.03 (up to
a width of 50,000). Then

- ``|e|**2 = |x|**2 - 2 y.B'x + y.B'B y <= |x|**2 - |y|**2 + 2.1 eta + 1.1 delta``;
- ``B'e = (B'x - y) - (B'B - I) y``, so in ``x.x' = y.B'B y' + y.B'e' + y'.B'e + e.e'`` all but
  ``y.y' + e.e'`` is at most ``2.1 eta + 3.2 delta``.

A number of y is a float32 dot product, within ``float32_product_error(D)`` of the true one, hence
``eta = sqrt(p)`` times that. The product of two prefixes is itself rounded, as that of two vectors
of such norms, p + 1 wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from curator_assets.kernels.cells import UNIT_TOLERANCE
from curator_assets.kernels.products import (
    float32_product_error,
    full_float32_products,
    threads,
)

N_DIRECTIONS = 48
_MIN_WIDTH = 4 * N_DIRECTIONS
_BLOCK_ROWS = 8192
_PRODUCTS = 2**24


@dataclass(frozen=True)
class PrefixBasis:
    """Directions that prefixes are taken along.

    Attributes:
        directions: float32 [D, p], nearly orthonormal.
    """

    directions: NDArray[np.float32]

    @cached_property
    def _delta(self) -> float:
        exact = self.directions.astype(np.float64)
        return float(np.linalg.norm(exact.T @ exact - np.eye(exact.shape[1]))) + 1e-12

    @property
    def _eta(self) -> float:
        width, n_directions = self.directions.shape
        return math.sqrt(n_directions) * float32_product_error(width)

    @property
    def slack(self) -> float:
        """By how much the cosine of two vectors may exceed the product of their prefixes."""
        return 2.1 * self._eta + 3.2 * self._delta

    def prefixes(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Prefix of each vector.

        Args:
            embeddings: float32 [N, D], of norm 1 within ``UNIT_TOLERANCE``.

        Returns:
            float32 [N, p + 1]: its products with the directions, and a bound of what they leave.
        """
        n_directions = self.directions.shape[1]
        found = np.empty((len(embeddings), n_directions + 1), np.float32)
        directions = torch.from_numpy(self.directions)
        longest = (1.0 + UNIT_TOLERANCE) ** 2 + 2.1 * self._eta + 1.1 * self._delta
        for start in range(0, len(embeddings), _BLOCK_ROWS):
            block = np.ascontiguousarray(embeddings[start : start + _BLOCK_ROWS])
            with full_float32_products(), threads(1):
                along = (torch.from_numpy(block) @ directions).numpy()
            squared = np.einsum("np,np->n", along, along, dtype=np.float64)
            rest = np.sqrt(np.maximum(longest - squared, 0.0) + 1e-12).astype(np.float32)
            found[start : start + len(block), :-1] = along
            found[start : start + len(block), -1] = np.nextafter(rest, np.float32(np.inf))
        return found


def principal_directions(
    embeddings: NDArray[np.float32], centroids: NDArray[np.float32]
) -> PrefixBasis | None:
    """The directions along which vectors of one cell differ most.

    Args:
        embeddings: float32 [N, D], unit L2 norm.
        centroids: float32 [K, D], unit L2 norm; each vector is of the cell of the nearest.

    Returns:
        The directions; None for vectors too narrow to gain by them.
    """
    width = embeddings.shape[1]
    if width < _MIN_WIDTH:
        return None
    scatter = np.zeros((width, width))
    n_rows = max(1, _PRODUCTS // len(centroids))
    for start in range(0, len(embeddings), n_rows):
        block = embeddings[start : start + n_rows]
        products = block @ centroids.T
        home = products.argmax(axis=1)
        rest = block - centroids[home] * products[np.arange(len(block)), home][:, None]
        scatter += rest.T @ rest
    directions = np.linalg.eigh(scatter)[1][:, : -N_DIRECTIONS - 1 : -1]
    return PrefixBasis(np.ascontiguousarray(directions, dtype=np.float32))
