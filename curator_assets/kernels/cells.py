"""Home cell of each embedding, and the other cells that it must visit.

Legend: N images, D embedding width, K cells, V visits, T rows of a tile, U home cells of a tile.

The search for near-duplicates compares the images of a cell with each other and with the cell's
visitors. Which cells must an image visit so that no pair is missed? Let x live in cell a, y in
cell b, with angle(x, y) <= theta, and let n be the unit vector along c_a - c_b. The signed angles
``asin(x.n)`` and ``asin(-y.n)`` to the plane between the two cells add up to at most theta, so one
of them is at most theta / 2. Visiting every cell b with ``h_x(b) = asin(x.n) <= theta / 2``
therefore brings each such pair together in b (x visits) or in a (y visits). The proof does not
need the home to be the nearest cell, so a rounded product cannot break it.

The rule is tested as ``x.c_a - x.c_b <= sin(theta / 2) * |c_a - c_b|``, without a division, and
every rounding is taken on the safe side: a float32 dot product of unit vectors, summed in any
order, is within ``gamma = D u / (1 - D u)`` of the true one (u = 2**-24; Higham, Accuracy and
Stability, section 3.1), norms may be off by ``UNIT_TOLERANCE``. So a few cells too many are
visited, none too few, and coincident centroids are always visited.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

UNIT_TOLERANCE = 1e-5
_MAX_TILE_ROWS = 1024
_MIN_TILE_ROWS = 64
_TILE_ELEMENTS = 2**24
_HOME_ROWS = 256
_TABLE_ELEMENTS = 2**26
_REDUCED_SUMS = (
    "allow_fp16_reduced_precision_reduction",
    "allow_bf16_reduced_precision_reduction",
    "allow_fp16_accumulation",
)


@dataclass(frozen=True)
class CellAssignment:
    """Where each of N images lives and which cells it visits.

    Attributes:
        home: int32 [N], nearest centroid, each in [0, K).
        cosine: float32 [N], cosine similarity to that centroid.
        visit_offsets: int64 [N + 1]; image i's visits are those from ``visit_offsets[i]`` up to
            ``visit_offsets[i + 1]``.
        visits: int32 [V], cells, ascending within an image, never its home.
    """

    home: NDArray[np.int32]
    cosine: NDArray[np.float32]
    visit_offsets: NDArray[np.int64]
    visits: NDArray[np.int32]

    @classmethod
    def concatenate(cls, parts: Sequence[CellAssignment]) -> CellAssignment:
        """One assignment of all images, in the order of ``parts`` (say, one a shard)."""
        counts = [np.zeros(0, np.int64), *(np.diff(part.visit_offsets) for part in parts)]
        return cls(
            home=np.concatenate([np.zeros(0, np.int32), *(part.home for part in parts)]),
            cosine=np.concatenate([np.zeros(0, np.float32), *(part.cosine for part in parts)]),
            visit_offsets=_offsets(np.concatenate(counts)),
            visits=np.concatenate([np.zeros(0, np.int32), *(part.visits for part in parts)]),
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


def float32_product_error(width: int) -> float:
    """Bound of |float32 dot product - true one| for two unit vectors of ``width`` D."""
    rounding = width * 2.0**-24
    return rounding / (1.0 - rounding) + 1e-6


def visit_cells(
    embeddings: NDArray[np.float32],
    centroids: NDArray[np.float32],
    *,
    min_cosine: float,
    max_visits: int | None,
    bound_fraction: float,
    device: str,
) -> CellAssignment:
    """Home cell of each embedding and the cells it must visit to meet its near-duplicates.

    Exact: ``max_visits=None, bound_fraction=1.0``. Fast: only the ``max_visits`` cells of smallest
    ``h`` among those with ``h <= bound_fraction * theta / 2``.

    The result of a row does not depend on the rows beside it: tiles have one fixed shape for a
    given K, the last one is padded.

    Args:
        embeddings: float32 [N, D], unit L2 norm.
        centroids: float32 [K, D], unit L2 norm.
        min_cosine: cos(theta), in [-1, 1]; pairs at or above it are to be found.
        max_visits: at most so many visits an image; None for no limit.
        bound_fraction: share of theta / 2 to visit within, in (0, 1].
        device: torch device of the products, such as "cpu" or "cuda".

    Returns:
        The assignment of the N images.

    Raises:
        ValueError: widths differ, K is 0, an argument is out of its range, or a row's norm is
            further than ``UNIT_TOLERANCE`` from 1.
    """
    _check(embeddings, centroids, min_cosine, max_visits, bound_fraction)
    n_images, width = embeddings.shape
    home = np.empty(n_images, np.int32)
    cosine = np.empty(n_images, np.float32)
    counts = np.zeros(n_images, np.int64)
    visits = [np.zeros(0, np.int32)]
    reach = _sine_bound(min_cosine, bound_fraction)
    codebook = torch.from_numpy(np.ascontiguousarray(centroids)).to(device)
    tile_rows = _TILE_ELEMENTS // max(1, len(centroids))
    tile = torch.zeros((min(max(tile_rows, _MIN_TILE_ROWS), _MAX_TILE_ROWS), width), device=device)
    distances = None
    if len(codebook) ** 2 <= _TABLE_ELEMENTS:
        distances = _all_distances(centroids.tobytes(), len(centroids), device)
    for start in range(0, n_images, len(tile)):
        block = np.ascontiguousarray(embeddings[start : start + len(tile)])
        n_rows = len(block)
        tile[:n_rows] = torch.from_numpy(block).to(device)
        tile[n_rows:] = 0.0
        with full_float32_products():
            tile_home, tile_cosine, row, cell, nearness = _tile_visits(
                tile, codebook, distances, n_rows=n_rows, reach=reach
            )
        if max_visits is not None:
            row, cell = _nearest(row, cell, nearness, max_visits)
        home[start : start + n_rows] = tile_home
        cosine[start : start + n_rows] = np.minimum(tile_cosine, np.float32(1.0))
        counts[start : start + n_rows] = np.bincount(row, minlength=n_rows)
        visits.append(cell.astype(np.int32))
    return CellAssignment(home, cosine, _offsets(counts), np.concatenate(visits))


@dataclass(frozen=True)
class _Distances:
    """Upper bounds of |c_a - c_b|, for some home cells a and all cells b."""

    table: torch.Tensor  # float32 [U, K], never 0
    farthest: torch.Tensor  # float32 [U]

    @classmethod
    def between(cls, codebook: torch.Tensor, homes: torch.Tensor) -> _Distances:
        """For ``homes`` int64 [U], in products of one fixed shape."""
        error = float32_product_error(codebook.shape[1])
        squared_norm = (codebook * codebook).sum(dim=1)
        n_padding = -len(homes) % _HOME_ROWS
        padded = torch.cat([homes, homes.new_zeros(n_padding)])
        blocks = []
        for chunk in torch.split(padded, _HOME_ROWS):
            squared = squared_norm[chunk, None] + squared_norm
            squared -= 2.0 * (codebook[chunk] @ codebook.T)
            blocks.append((squared.clamp_min_(0.0) + 4.0 * error).sqrt_())
        table = torch.cat(blocks)[: len(homes)]
        return cls(table, table.amax(dim=1))


@lru_cache(maxsize=1)
def _all_distances(codebook: bytes, n_cells: int, device: str) -> _Distances:
    """Between all cells; made once for the shards that are assigned one after another.

    Args:
        codebook: float32 [K, D], as bytes.
        n_cells: K.
        device: where the table lies.
    """
    rows = np.frombuffer(codebook, np.float32).reshape(n_cells, -1)
    with full_float32_products():
        centroids = torch.from_numpy(rows.copy()).to(device)
        return _Distances.between(centroids, torch.arange(n_cells, device=device))


def _tile_visits(
    tile: torch.Tensor,
    codebook: torch.Tensor,
    distances: _Distances | None,
    *,
    n_rows: int,
    reach: float,
) -> tuple[NDArray[Any], ...]:
    """Homes and cosines [n_rows] of a tile [T, D]; row, cell and sin(h) of each of its visits."""
    slack = 2.0 * float32_product_error(tile.shape[1])
    products = tile @ codebook.T
    cosine, home = products.max(dim=1)
    position = home
    if distances is None:
        homes, position = torch.unique(home, return_inverse=True)
        distances = _Distances.between(codebook, homes)
    floor = cosine - distances.farthest[position] * reach - 1.5 * slack
    floor[n_rows:] = torch.inf
    row, cell = (products >= floor[:, None]).nonzero(as_tuple=True)
    excess, distance = cosine[row] - products[row, cell], distances.table[position[row], cell]
    visited = (excess <= distance * reach + slack) & (cell != home[row])
    return (
        home[:n_rows].cpu().numpy(),
        cosine[:n_rows].cpu().numpy(),
        row[visited].cpu().numpy(),
        cell[visited].cpu().numpy(),
        (excess / distance)[visited].cpu().numpy(),
    )


def _nearest(
    row: NDArray[np.int64], cell: NDArray[np.int64], nearness: NDArray[np.float32], limit: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each row's visits the ``limit`` nearest, ties by cell; ordered by row, then cell."""
    order = np.lexsort((cell, nearness, row))
    rank = np.arange(len(row)) - np.searchsorted(row, row)  # rows ascend, before and after
    chosen = np.sort(order[rank < limit])
    return row[chosen], cell[chosen]


def _sine_bound(min_cosine: float, bound_fraction: float) -> float:
    """sin(bound_fraction * theta / 2), enlarged by what the norms' tolerance can hide."""
    slack = 2.0 * UNIT_TOLERANCE + 1e-7
    half_angle = math.asin(min(1.0, math.sqrt((1.0 - min_cosine + slack) / 2.0)))
    return math.sin(bound_fraction * half_angle) * (1.0 + UNIT_TOLERANCE)


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def _check(
    embeddings: NDArray[np.float32],
    centroids: NDArray[np.float32],
    min_cosine: float,
    max_visits: int | None,
    bound_fraction: float,
) -> None:
    if len(embeddings) and not len(centroids):
        raise ValueError(f"{len(embeddings)} embeddings but no centroid: train the codebook first")
    if embeddings.shape[1] != centroids.shape[1]:
        raise ValueError(
            f"embeddings are {embeddings.shape[1]} wide, centroids {centroids.shape[1]}: "
            "they come from different models; retrain the centroids"
        )
    if not -1.0 <= min_cosine <= 1.0:
        raise ValueError(f"min_cosine must lie in [-1, 1], got {min_cosine}")
    if max_visits is not None and max_visits < 0:
        raise ValueError(f"max_visits must be None or at least 0, got {max_visits}")
    if not 0.0 < bound_fraction <= 1.0:
        raise ValueError(f"bound_fraction must lie in (0, 1], got {bound_fraction}")
    for name, rows in (("embeddings", embeddings), ("centroids", centroids)):
        norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
        wrong = np.flatnonzero(~(np.abs(norms - 1.0) <= UNIT_TOLERANCE))
        if len(wrong):
            raise ValueError(
                f"{name}: {len(wrong)} of {len(rows)} rows are not of unit norm "
                f"(row {wrong[0]}: {norms[wrong[0]]:.6g}); normalise them in float32 first"
            )
