"""The centroids of cells, ready for their products with embeddings.

Legend: D embedding width, K cells, T rows of a tile, U home cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from curator_assets.kernels.products import float32_product_error, full_float32_products

_MAX_TILE_ROWS = 1024
_MIN_TILE_ROWS = 64
_TILE_ELEMENTS = 2**20  # larger tensors cost a CPU fresh pages each time, and leave its cache
_GPU_TILE_ELEMENTS = 2**24


@dataclass(frozen=True)
class Codebook:
    """Centroids, and their products with tiles of one shape."""

    centroids: torch.Tensor  # float32 [K, D]
    packed: torch.Tensor | None  # the same, in the order that oneDNN wants
    squared_norm: torch.Tensor  # float32 [K]
    tile_rows: int  # T

    @classmethod
    def of(cls, centroids: NDArray[np.float32], device: str) -> Codebook:
        """Of float32 [K, D] centroids of unit norm, K at least 1."""
        rows = torch.from_numpy(np.ascontiguousarray(centroids)).to(device)
        elements = _TILE_ELEMENTS if rows.is_cpu else _GPU_TILE_ELEMENTS
        most = min(max(elements // len(rows), _MIN_TILE_ROWS), _MAX_TILE_ROWS)
        tile_rows = 1 << (most.bit_length() - 1)  # divides a table's row groups: less padding
        packed = None
        if rows.is_cpu and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            packed = torch.ops.mkldnn._reorder_linear_weight(rows, tile_rows)
        return cls(rows, packed, (rows * rows).sum(dim=1), tile_rows)

    def products(self, tile: torch.Tensor) -> torch.Tensor:
        """float32 [T, K], of a tile [T, D] with the centroids."""
        with full_float32_products():
            if self.packed is None:
                return tile @ self.centroids.T
            # No public operator multiplies by a packed matrix without copying what comes out. On
            # AMD this takes less than half of the time of the product above, which is MKL's.
            product = torch.ops.mkldnn._linear_pointwise
            packed: torch.Tensor = product(tile, self.packed, None, "none", [], "")
            return packed

    def margins(self, homes: torch.Tensor, sine: float) -> torch.Tensor:
        """Upper bounds of ``sine * |c_a - c_b|``, for some cells a and all cells b.

        Args:
            homes: int64 [U], the cells a.
            sine: factor, above 0.

        Returns:
            float32 [U, K], above 0.
        """
        # Each squared norm may be off by one error, twice the product by two; of these the part
        # beyond the sum's bound, 4e-6, covers the roundings of what follows.
        error = float32_product_error(self.centroids.shape[1])
        tile = self.centroids.new_zeros((self.tile_rows, self.centroids.shape[1]))
        blocks = []
        for chunk in torch.split(homes, self.tile_rows):
            tile[: len(chunk)] = self.centroids[chunk]
            squared = self.squared_norm[chunk, None] + self.squared_norm
            squared -= 2.0 * self.products(tile)[: len(chunk)]
            blocks.append(squared.clamp_min_(0.0).add_(4.0 * error).sqrt_().mul_(sine))
        return torch.cat(blocks)


@lru_cache(maxsize=1)
def all_margins(centroids: bytes, n_cells: int, sine: float, device: str) -> torch.Tensor:
    """float32 [K, K], of all cells; made once for shards that are assigned one after another.

    Args:
        centroids: float32 [K, D], as bytes.
        n_cells: K.
        sine: as in ``Codebook.margins``.
        device: where the table lies.
    """
    rows = np.frombuffer(centroids, np.float32).reshape(n_cells, -1)
    return Codebook.of(rows.copy(), device).margins(torch.arange(n_cells, device=device), sine)
