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

A clump is not written out. In a cell with more than ``dense_degree`` pairs a member, the members
with more than ``dense_degree`` near neighbours there are *dense*: the pairs between two of them
are left to the reader, who can compute those that matter from the vectors (``kernels.dense``). All
other pairs are stored, so no cell stores more than ``dense_degree`` rows a member.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator_assets.kernels.cell_search import UNIT_ROUNDOFF, CellSearch
from curator_assets.kernels.cells import CellAssignment
from curator_assets.kernels.duplicates import identical_rows
from curator_assets.kernels.found_pairs import DenseMembers, Pairs
from curator_assets.kernels.products import full_float32_products


def find_pairs(
    embeddings: NDArray[np.float32],
    assignment: CellAssignment,
    *,
    cells: NDArray[np.integer],
    min_cosine: float,
    product_dtype: str,
    device: str,
    dense_degree: int | None = 64,
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
        dense_degree: a cell with more pairs a member leaves those between two members with more
            near neighbours there to its pool; None to list all pairs.
        tile_rows: residents in one product; does not change the result.
        tile_columns: images they are compared with in one product; does not change the result.

    Returns:
        The pairs. Over all cells together: with an exact assignment, every pair of distinct
        vectors, listed or in a pool, and one row for each copy of an identical one. Degrees count
        unconfirmed products: tiles, precision and device may shift a few pairs list to pool.

    Raises:
        ValueError: the assignment is of another number of rows, ``product_dtype`` is unknown, or
            ``dense_degree`` is below 1.
    """
    if len(embeddings) != len(assignment.home):
        raise ValueError(
            f"{len(embeddings)} embeddings but {len(assignment.home)} cell assignments"
        )
    if product_dtype not in UNIT_ROUNDOFF:
        raise ValueError(
            f"product_dtype must be one of {sorted(UNIT_ROUNDOFF)}, got '{product_dtype}'"
        )
    if dense_degree is not None and dense_degree < 1:
        raise ValueError(f"dense_degree must be None or at least 1, got {dense_degree}")
    group = _Group.select(embeddings, assignment, np.unique(cells))
    search = CellSearch(
        embeddings, min_cosine, product_dtype, device, dense_degree, tile_rows, tile_columns
    )
    found = [group.stars()]
    with full_float32_products():
        for cell, residents, visitors in group.members():
            members = np.concatenate([residents, visitors])
            first, second, cosine, dense = search.cell(members, len(residents))
            resident, other = members[first], members[second]
            once = group.reports(resident, other)
            low, high = np.minimum(resident, other)[once], np.maximum(resident, other)[once]
            pool_cell = np.full(len(dense), cell, np.int32)
            pool = DenseMembers(members[dense], pool_cell, dense < len(residents))
            found.append(Pairs(low, high, cosine[once], np.zeros(len(low), np.bool_), pool))
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

    def members(self) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Number, residents and visitors of each cell that has a resident."""
        homes = self.home[self.residents]
        residents = np.split(self.residents, np.searchsorted(homes, self.cells))[1:]
        visitors = np.split(self.visitors, np.searchsorted(self.visitor_cells, self.cells))[1:]
        for cell, inside, visiting in zip(self.cells, residents, visitors, strict=True):
            if len(inside):
                yield int(cell), inside, visiting

    def stars(self) -> Pairs:
        """One row for each copy of a vector."""
        ones = np.ones(len(self.copies), np.bool_)
        return Pairs(self.copies[:, 0], self.copies[:, 1], ones.astype(np.float32), ones)

    def reports(self, resident: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which pairs this cell reports: not those that a cell of lower number meets as well."""
        other_home = self.home[other]
        key = resident * self.n_cells + other_home
        place = np.searchsorted(self.visit_keys, key)
        mutual = np.zeros(len(key), np.bool_)
        inside = place < len(self.visit_keys)
        mutual[inside] = self.visit_keys[place[inside]] == key[inside]
        return ~(mutual & (other_home < self.home[resident]))


def _visit_keys(
    assignment: CellAssignment, rows: NDArray[np.int64], n_cells: int
) -> NDArray[np.int64]:
    """``row * n_cells + cell`` of each visit of ``rows`` (ascending), ascending."""
    starts = assignment.visit_offsets[rows]
    counts = assignment.visit_offsets[rows + 1] - starts
    visit = np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
    keys: NDArray[np.int64] = np.repeat(rows, counts) * n_cells + assignment.visits[visit]
    return keys
