"""All near-duplicate pairs whose search falls to given cells.

Legend: N images, D embedding width, K cells, P pairs; of one cell, R residents and V visitors.

In each cell the residents are compared with each other and with the visitors, in blocked matrix
products of bounded size. A product, float32 or reduced, only proposes: whatever lies within its
error bound of the threshold is computed anew, so the pairs and their cosines are the same for
every device, precision, block size and order.

Images with identical vectors are collapsed before: each but the first of them gives one row
(``identical``), only the first takes part, so 100,000 copies of one image are a star of 99,999
rows. A pair that both sides would report (x visits b, y visits a) is reported by the cell of the
lower number, so the results for disjoint sets of cells are disjoint.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from curator_assets.kernels.cells import (
    CellAssignment,
    float32_product_error,
    full_float32_products,
)
from curator_assets.kernels.duplicates import identical_rows

_UNIT_ROUNDOFF = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
_DENSE_ENTRIES_PER_PAIR = 64
_RECHECK_ROWS = 1024


@dataclass(frozen=True)
class Pairs:
    """Near-duplicate pairs, ordered by (a, b), each once.

    Attributes:
        a: int64 [P], row of the first image.
        b: int64 [P], row of the second, ``a < b``.
        cosine: float32 [P], the float64 dot product of the two rows, rounded once.
        identical: bool [P], b is a copy of a (same vector, same cell): a was searched in its stead.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    cosine: NDArray[np.float32]
    identical: NDArray[np.bool_]

    @classmethod
    def concatenate(cls, parts: Sequence[Pairs]) -> Pairs:
        """All pairs of disjoint ``parts``, ordered by (a, b)."""
        a = np.concatenate([np.zeros(0, np.int64), *(part.a for part in parts)])
        b = np.concatenate([np.zeros(0, np.int64), *(part.b for part in parts)])
        cosine = np.concatenate([np.zeros(0, np.float32), *(part.cosine for part in parts)])
        identical = np.concatenate([np.zeros(0, np.bool_), *(part.identical for part in parts)])
        order = np.lexsort((b, a))
        return cls(a[order], b[order], cosine[order], identical[order])


def find_pairs(
    embeddings: NDArray[np.float32],
    assignment: CellAssignment,
    *,
    cells: NDArray[np.integer],
    min_cosine: float,
    product_dtype: str,
    device: str,
    tile_rows: int = 256,
    tile_columns: int = 8192,
) -> Pairs:
    """Every pair with cosine >= ``min_cosine`` whose search falls to ``cells``.

    Args:
        embeddings: float32 [N, D], unit L2 norm; an array or a memory map.
        assignment: home and visits of the same N rows.
        cells: integers in [0, K), the cells to search; others' pairs are left to other calls.
        min_cosine: 1 - max_eps; compared as float32 with the float32 cosine.
        product_dtype: "float32", "float16" or "bfloat16"; does not change the result.
        device: torch device of the products; does not change the result.
        tile_rows: residents in one product; does not change the result.
        tile_columns: images they are compared with in one product; does not change the result.

    Returns:
        The pairs. Over all cells together: with an exact assignment, every pair of distinct
        vectors, and one row for each copy of an identical one.

    Raises:
        ValueError: the assignment is of another number of rows, or ``product_dtype`` is unknown.
    """
    if len(embeddings) != len(assignment.home):
        raise ValueError(
            f"{len(embeddings)} embeddings but {len(assignment.home)} cell assignments"
        )
    if product_dtype not in _UNIT_ROUNDOFF:
        raise ValueError(
            f"product_dtype must be one of {sorted(_UNIT_ROUNDOFF)}, got '{product_dtype}'"
        )
    group = _Group.select(embeddings, assignment, np.unique(cells))
    search = _Search(embeddings, min_cosine, product_dtype, device, tile_rows, tile_columns)
    found = [group.stars()]
    with full_float32_products():
        for residents, visitors in group.members():
            resident, other, cosine = search.cell(residents, visitors)
            once = group.reports(resident, other)
            low, high = np.minimum(resident, other)[once], np.maximum(resident, other)[once]
            found.append(Pairs(low, high, cosine[once], np.zeros(len(low), np.bool_)))
    return Pairs.concatenate(found)


@dataclass(frozen=True)
class _Group:
    """The images of a set of cells, copies collapsed."""

    home: NDArray[np.int32]  # [N]
    n_cells: int
    cells: NDArray[np.integer]  # ascending
    copies: NDArray[np.int64]  # [C, 2]: first of its kind, copy
    residents: NDArray[np.int64]  # rows, ordered by cell, then row
    visitors: NDArray[np.int64]  # rows, likewise
    visitor_cells: NDArray[np.int32]
    visit_keys: NDArray[np.int64]  # row * n_cells + cell of each visit of a resident, ascending

    @classmethod
    def select(
        cls,
        embeddings: NDArray[np.float32],
        assignment: CellAssignment,
        cells: NDArray[np.integer],
    ) -> _Group:
        home, visits = assignment.home, assignment.visits
        n_cells = 1 + int(max(part.max(initial=-1) for part in (home, visits, cells)))
        wanted = np.zeros(n_cells, np.bool_)
        wanted[cells] = True
        residents = np.flatnonzero(wanted[home])
        visit = np.flatnonzero(wanted[visits])
        visitors = np.searchsorted(assignment.visit_offsets, visit, side="right") - 1
        rows = np.union1d(residents, visitors)
        first = identical_rows(embeddings, rows, home=home[rows], cosine=assignment.cosine[rows])
        first_resident = first[np.searchsorted(rows, residents)]
        is_copy = first_resident != residents
        is_first = first[np.searchsorted(rows, visitors)] == visitors
        copies = np.stack([first_resident[is_copy], residents[is_copy]], axis=1)
        residents, visitors, visit = residents[~is_copy], visitors[is_first], visit[is_first]
        by_cell = np.argsort(visits[visit], kind="stable")
        return cls(
            home=home,
            n_cells=n_cells,
            cells=cells,
            copies=copies,
            residents=residents[np.argsort(home[residents], kind="stable")],
            visitors=visitors[by_cell],
            visitor_cells=visits[visit][by_cell],
            visit_keys=_visit_keys(assignment, residents, n_cells),
        )

    def members(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Residents and visitors of each cell that has a resident."""
        resident_ends = np.searchsorted(self.home[self.residents], self.cells, side="right")
        resident_starts = np.searchsorted(self.home[self.residents], self.cells, side="left")
        visitor_ends = np.searchsorted(self.visitor_cells, self.cells, side="right")
        visitor_starts = np.searchsorted(self.visitor_cells, self.cells, side="left")
        for cell in np.flatnonzero(resident_ends > resident_starts):
            yield (
                self.residents[resident_starts[cell] : resident_ends[cell]],
                self.visitors[visitor_starts[cell] : visitor_ends[cell]],
            )

    def stars(self) -> Pairs:
        """One row for each copy of a vector."""
        n_copies = len(self.copies)
        return Pairs(
            a=self.copies[:, 0],
            b=self.copies[:, 1],
            cosine=np.ones(n_copies, np.float32),
            identical=np.ones(n_copies, np.bool_),
        )

    def reports(self, resident: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which pairs this cell reports: not those that a cell of lower number meets as well."""
        other_home = self.home[other]
        key = resident * self.n_cells + other_home
        place = np.searchsorted(self.visit_keys, key)
        mutual = np.zeros(len(key), np.bool_)
        inside = place < len(self.visit_keys)
        mutual[inside] = self.visit_keys[place[inside]] == key[inside]
        return ~(mutual & (other_home < self.home[resident]))


@dataclass(frozen=True)
class _Search:
    """Blocked comparison of a cell's residents with its residents and visitors."""

    embeddings: NDArray[np.float32]
    min_cosine: float
    product_dtype: str
    device: str
    tile_rows: int
    tile_columns: int

    def cell(
        self, residents: NDArray[np.int64], visitors: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Rows (resident, other) and cosines of the pairs of one cell."""
        columns = np.concatenate([residents, visitors])
        firsts, seconds = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        cosines = [np.zeros(0, np.float32)]
        for left in range(0, len(columns), self.tile_columns):
            block = self._fetch(columns[left : left + self.tile_columns])
            reduced = block.to(getattr(torch, self.product_dtype))
            stop = min(len(residents), left + len(block))
            for top in range(0, stop, self.tile_rows):
                tile = self._fetch(residents[top : min(top + self.tile_rows, stop)])
                near = tile.to(reduced.dtype) @ reduced.T >= self._limit()
                row, column = near.triu_(top - left + 1).nonzero(as_tuple=True)
                cosine = exact_cosines(tile, block, row, column)
                kept = cosine >= np.float32(self.min_cosine)
                firsts.append(residents[top + row.cpu().numpy()[kept]])
                seconds.append(columns[left + column.cpu().numpy()[kept]])
                cosines.append(cosine[kept])
        return np.concatenate(firsts), np.concatenate(seconds), np.concatenate(cosines)

    def _fetch(self, rows: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.embeddings[rows])).to(self.device)

    def _limit(self) -> float:
        """Product above which a pair may reach the threshold.

        Rounding both factors, the product and this limit itself to the reduced type costs a unit
        roundoff each; the sum is float32.
        """
        reduced = 0.0 if self.product_dtype == "float32" else _UNIT_ROUNDOFF[self.product_dtype]
        return self.min_cosine - 4.0 * reduced - float32_product_error(self.embeddings.shape[1])


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


def _visit_keys(
    assignment: CellAssignment, rows: NDArray[np.int64], n_cells: int
) -> NDArray[np.int64]:
    """``row * n_cells + cell`` of each visit of ``rows`` (ascending), ascending."""
    starts = assignment.visit_offsets[rows]
    counts = assignment.visit_offsets[rows + 1] - starts
    visit = np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
    keys: NDArray[np.int64] = np.repeat(rows, counts) * n_cells + assignment.visits[visit]
    return keys
