"""Home cell of each embedding, and the other cells that it must visit.

Legend: N images, D embedding width, K cells, V visits, T rows of a tile, U home cells of a tile.

The search for near-duplicates compares the images of a cell with each other and with the cell's
visitors. Which cells must an image visit so that no pair is missed? Let x live in cell a, y in
cell b, with angle(x, y) <= theta, and let n be the unit vector along c_a - c_b. The signed angles
``asin(x.n)`` and ``asin(-y.n)`` to the plane between the two cells add up to at most theta, so one
of them is at most theta / 2. Visiting every cell b with ``h_x(b) = asin(x.n) <= theta / 2``
therefore brings each such pair together in b (x visits) or in a (y visits).

The rule is tested as ``x.c_b >= x.c_a - sin(theta / 2) * |c_a - c_b|``, and every rounding is taken
on the safe side. The left side is a float32 product of unit vectors; summed in any order, it is
within ``gamma = D u / (1 - D u)`` of the true one (u = 2**-24; Higham, Accuracy and Stability,
section 3.1). ``x.c_a`` is correctly rounded (`exact_products`), the distance an upper bound. What
remains are the roundings of ``x.c_a``, of the last term and its factor, and of two subtractions of
numbers below 4: at most 12 u in all, under the 1e-6 by which `float32_product_error` exceeds gamma.
Norms may be off by ``UNIT_TOLERANCE``, which `_sine_bound` allows for. So a few cells too many are
visited, none too few, and coincident centroids are always visited.

What depends on the machine: neither homes nor cosines. The home is the cell of the greatest
correctly rounded product with its centroid, ties to the lowest cell. Any such cell has a float32
product within the error of the exact one of the cell that seemed nearest, hence is among that
cell's visits; only rivals that near are computed exactly. Visits may differ where a product lies
within its error of the limit. No result of the exact search can: with any products a pair within
theta meets, and the search finds the pairs that meet by exact cosines. The fast search may then
find or miss a pair at its limit, within the recall that is measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curator_assets.kernels.codebook import Codebook, all_margins
from curator_assets.kernels.products import exact_products, float32_product_error

UNIT_TOLERANCE = 1e-5
_TABLE_ELEMENTS = 2**26


@dataclass(frozen=True)
class CellAssignment:
    """Where each of N images lives and which cells it visits.

    Attributes:
        home: int32 [N], nearest centroid, each in [0, K).
        cosine: float32 [N], cosine similarity to that centroid, correctly rounded, at most 1.
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
    if not n_images:
        return CellAssignment.concatenate([])
    home = np.empty(n_images, np.int32)
    cosine = np.empty(n_images, np.float32)
    counts = np.zeros(n_images, np.int64)
    visits = [np.zeros(0, np.int32)]
    sine = _sine_bound(min_cosine, bound_fraction)
    codebook = Codebook.of(centroids, device)
    margins = None
    if len(centroids) ** 2 <= _TABLE_ELEMENTS:
        margins = all_margins(centroids.tobytes(), len(centroids), sine, device)
    tile = torch.zeros((codebook.tile_rows, width), device=device)
    for start in range(0, n_images, len(tile)):
        block = np.ascontiguousarray(embeddings[start : start + len(tile)])
        n_rows = len(block)
        tile[:n_rows] = torch.from_numpy(block).to(device)
        tile[n_rows:] = 0.0
        tile_home, tile_cosine, row, cell = _assign_tile(
            tile, codebook, margins, n_rows=n_rows, sine=sine, max_visits=max_visits
        )
        home[start : start + n_rows] = tile_home
        cosine[start : start + n_rows] = np.minimum(tile_cosine, np.float32(1.0))
        counts[start : start + n_rows] = np.bincount(row, minlength=n_rows)
        visits.append(cell.astype(np.int32))
    return CellAssignment(home, cosine, _offsets(counts), np.concatenate(visits))


def _assign_tile(
    tile: torch.Tensor,
    codebook: Codebook,
    margins: torch.Tensor | None,
    *,
    n_rows: int,
    sine: float,
    max_visits: int | None,
) -> tuple[NDArray[Any], ...]:
    """Homes and exact products [n_rows] of a tile; row and cell of each visit."""
    error = float32_product_error(tile.shape[1])
    products = codebook.products(tile)[:n_rows]
    everyone = torch.arange(n_rows, device=tile.device)
    home = _largest(products)
    while True:
        exact = exact_products(tile, codebook.centroids, everyone, home)
        cosine = torch.from_numpy(exact).to(tile.device)
        table, position = margins, home
        if table is None:
            homes, position = torch.unique(home, return_inverse=True)
            table = codebook.margins(homes, sine)
        limit = table.index_select(0, position)
        torch.sub((cosine - error)[:, None], limit, out=limit)
        row, cell = _at_least(products, limit)
        product = products[row, cell]
        rival = (product >= cosine[row] - error) & (cell != home[row])
        if not _move(home, cosine, tile, codebook.centroids, row[rival], cell[rival]):
            break
    away = cell != home[row]
    row, cell = row[away], cell[away]
    if max_visits is not None:
        nearness = (cosine[row] - product[away]) / table[position[row], cell]
        row, cell = _nearest(row, cell, nearness, max_visits)
    return tuple(x.cpu().numpy() for x in (home, cosine, row, cell))


def _largest(products: torch.Tensor) -> torch.Tensor:
    """int64 [n], the place of the largest of each row."""
    if products.is_cpu:  # numpy's takes a tenth of the time
        return torch.from_numpy(products.numpy().argmax(axis=1))
    return products.argmax(dim=1)


def _at_least(products: torch.Tensor, limit: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """int64 rows and columns, ascending, of the products that reach their limit."""
    if products.is_cpu:  # numpy's takes a quarter of the time
        place = torch.from_numpy(np.flatnonzero(products.numpy() >= limit.numpy()))
    else:
        place = (products >= limit).flatten().nonzero()[:, 0]
    n_columns = products.shape[1]
    return place // n_columns, place % n_columns


def _move(
    home: torch.Tensor,
    cosine: torch.Tensor,
    tile: torch.Tensor,
    centroids: torch.Tensor,
    row: torch.Tensor,
    rival: torch.Tensor,
) -> bool:
    """Whether a rival is nearer than the home of its row, by exact products; ``home`` follows."""
    if not len(row):
        return False
    value = exact_products(tile, centroids, row, rival)
    current, rows, cells = cosine[row].cpu().numpy(), row.cpu().numpy(), rival.cpu().numpy()
    nearer = (value > current) | ((value == current) & (cells < home[row].cpu().numpy()))
    order = np.lexsort((cells, -value, rows))
    order = order[nearer[order]]
    moved, first = np.unique(rows[order], return_index=True)
    target = torch.from_numpy(moved).to(home.device)
    home[target] = torch.from_numpy(cells[order[first]]).to(home.device)
    return bool(len(moved))


def _nearest(
    row: torch.Tensor, cell: torch.Tensor, nearness: torch.Tensor, limit: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each row's visits the ``limit`` nearest, ties by cell; ordered by row, then cell."""
    rows = row.cpu().numpy()
    order = np.lexsort((cell.cpu().numpy(), nearness.cpu().numpy(), rows))
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)  # rows ascend, before and after
    chosen = torch.from_numpy(np.sort(order[rank < limit])).to(row.device)
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
        norms = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
        wrong = np.flatnonzero(~(np.abs(norms - 1.0) <= UNIT_TOLERANCE))
        if len(wrong):
            raise ValueError(
                f"{name}: {len(wrong)} of {len(rows)} rows are not of unit norm "
                f"(row {wrong[0]}: {norms[wrong[0]]:.6g}); normalise them in float32 first"
            )
