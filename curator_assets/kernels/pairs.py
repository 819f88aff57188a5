"""All near-duplicate pairs whose search falls to given cells.

Legend: M images of the cells, D embedding width, K cells, P pairs; of one cell, residents and
visitors.

In each cell the residents are compared with each other and with the visitors, in blocked matrix
products of bounded size. A product, float32 or reduced, of whole vectors or of their prefixes, only
proposes: whatever lies within its error bound of the threshold is computed anew, so the pairs and
their cosines are the same for every device, precision, block size and order. Of two images that an
earlier search compared, what it found is taken (``join``), but in a cell with too many pairs.

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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from curator_assets.kernels.cell_group import CellGroup
from curator_assets.kernels.cell_members import Cell, CellMembers
from curator_assets.kernels.cell_search import NO_PAIRS, CellSearch, PlacedPairs, joined
from curator_assets.kernels.found_pairs import DenseMembers, Pairs
from curator_assets.kernels.join import CarriedPairs, EarlierSearch
from curator_assets.kernels.products import float32_product_error, full_float32_products
from curator_assets.kernels.proposals import Proposals, VectorCache, near_pairs
from curator_assets.kernels.tiles import UNIT_ROUNDOFF, TiledProducts


class Counts(NamedTuple):
    """What a search did.

    Attributes:
        n_across_cells: pairs whose images live in two cells.
        n_carried: pairs that an earlier search had found.
        n_compared: pairs of which a product was taken.
        n_comparable: pairs that a search of all compares.
        n_cells_by_prefix: cells whose pairs were proposed by prefixes.
        n_cells_by_vectors: cells whose vectors were compared at once.
    """

    n_across_cells: int
    n_carried: int
    n_compared: int
    n_comparable: int
    n_cells_by_prefix: int
    n_cells_by_vectors: int


@dataclass(frozen=True)
class Found:
    """The pairs that fall to some cells, and what the next search has to know.

    Attributes:
        pairs: by row.
        cell: int32 [P], in which each was found.
        searched: int64 [S], rows of the different images, ascending.
        key: uint64 [S, 2], theirs.
        new: int64, rows of those that no earlier search had, ascending.
        counts: what was done.
    """

    pairs: Pairs
    cell: NDArray[np.int32]
    searched: NDArray[np.int64]
    key: NDArray[np.uint64]
    new: NDArray[np.int64]
    counts: Counts

    @classmethod
    def concatenate(cls, parts: Sequence[Found]) -> Found:
        """What was found in disjoint sets of cells, of which there is one at least."""
        if len(parts) == 1:
            return parts[0]
        a = np.concatenate([part.pairs.a for part in parts])
        b = np.concatenate([part.pairs.b for part in parts])
        order = np.lexsort((b, a))
        searched, first = np.unique(np.concatenate([p.searched for p in parts]), return_index=True)
        return cls(
            pairs=Pairs.concatenate([part.pairs for part in parts]),
            cell=np.concatenate([part.cell for part in parts])[order],
            searched=searched,
            key=np.concatenate([part.key for part in parts])[first],
            new=np.unique(np.concatenate([part.new for part in parts])),
            counts=Counts(
                *(sum(counts) for counts in zip(*(part.counts for part in parts), strict=True))
            ),
        )


def find_pairs(
    group: CellGroup,
    *,
    min_cosine: float,
    product_dtype: str,
    device: str,
    earlier: EarlierSearch | None = None,
    dense_degree: int | None = 64,
    tile_rows: int = 256,
    tile_columns: int = 8192,
    block_bytes: int = 2**28,
) -> Found:
    """Every pair with cosine >= ``min_cosine`` whose search falls to the cells of a group.

    Args:
        group: the cells, their residents and visitors; others' pairs are left to other calls.
        min_cosine: 1 - max_eps; compared as float32 with the float32 cosine.
        product_dtype: "float32", "float16" or "bfloat16"; does not change the result.
        device: torch device of the products; does not change the result.
        earlier: what a search of the same cells found at the same ``min_cosine``.
        dense_degree: a cell with more pairs a member leaves those between two members with more
            near neighbours there to its pool; None to list all pairs.
        tile_rows: residents in one product; does not change the result.
        tile_columns: images they are compared with in one product; does not change the result.
        block_bytes: of whole vectors in memory at a time, at least those of one tile; does not
            change the result.

    Returns:
        The pairs. Over all cells together: with an exact assignment, every pair of distinct
        vectors, listed or in a pool, and one row for each copy of an identical one. Degrees count
        unconfirmed products: tiles, precision, device and what was searched before may shift a few
        pairs list to pool.

    Raises:
        ValueError: ``product_dtype`` is unknown, or ``dense_degree`` is below 1.
    """
    _check(product_dtype, dense_degree)
    leader = group.leaders()
    carried = (earlier or EarlierSearch.nothing()).among(group, leader)
    held = VectorCache(group.vectors, max(tile_columns, block_bytes // (4 * group.width)), device)
    products = partial(
        TiledProducts,
        dtype=product_dtype,
        tile_rows=tile_rows,
        tile_columns=tile_columns,
    )
    by_vectors = products(
        vectors=held, threshold=min_cosine, error=float32_product_error(group.width)
    )
    search = CellSearch(by_vectors, min_cosine, dense_degree)
    proposals = Proposals(group, min_cosine, products, device)
    cells = CellMembers(group, leader, carried.is_new)
    searching = _GroupSearch(group, carried, cells, search, proposals, held)
    with full_float32_products():
        for batch in _batches(cells, held.max_rows):
            searching.compare(batch)
    return searching.found(leader)


def _check(product_dtype: str, dense_degree: int | None) -> None:
    if product_dtype not in UNIT_ROUNDOFF:
        raise ValueError(
            f"product_dtype must be one of {sorted(UNIT_ROUNDOFF)}, got '{product_dtype}'"
        )
    if dense_degree is not None and dense_degree < 1:
        raise ValueError(f"dense_degree must be None or at least 1, got {dense_degree}")


def _batches(cells: CellMembers, max_rows: int) -> Iterator[list[Cell]]:
    """Cells one after another, of at most so many members in all, or one."""
    batch, n_rows = list[Cell](), 0
    for cell in cells.cells():
        n_rows += len(cell.residents) + len(cell.visitors)
        if batch and n_rows > max_rows:
            yield batch
            batch, n_rows = [], len(cell.residents) + len(cell.visitors)
        batch.append(cell)
    if batch:
        yield batch


@dataclass
class _GroupSearch:
    """What is compared of a group, and found."""

    group: CellGroup
    carried: CarriedPairs
    cells: CellMembers
    search: CellSearch
    proposals: Proposals
    held: VectorCache
    pairs: list[PlacedPairs] = field(default_factory=lambda: [NO_PAIRS])
    pools: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    n_by_prefix: int = 0
    n_by_vectors: int = 0

    def compare(self, batch: list[Cell]) -> None:
        """Find the pairs of some cells; those with too many are searched whole."""
        known = self.carried.n_in(np.array([cell.number for cell in batch], np.int32))
        proposed, by_vectors, none = list[Cell](), list[tuple[Cell, int]](), np.zeros(0, np.int64)
        first, second, n_proposed, n_known = [none], [none], list[int](), list[int]()
        for cell, n in zip(batch, known.tolist(), strict=True):
            pairs = self.proposals.of(cell)
            if pairs is None:
                by_vectors.append((cell, n))
                continue
            proposed.append(cell)
            n_known.append(n)
            n_proposed.append(len(pairs[0]))
            first.append(pairs[0])
            second.append(pairs[1])
        self._confirm(proposed, n_proposed, n_known, np.concatenate(first), np.concatenate(second))
        self.n_by_prefix += len(proposed)
        self.n_by_vectors += len(by_vectors)
        self.held.hold(_places([cell for cell, _ in by_vectors]))
        dense = list[Cell]()
        for cell, n in by_vectors:
            found = self.search.new_pairs(cell, n)
            if found is None:
                dense.append(cell)
            else:
                self.pairs.append(found)
        for cell in dense:
            self._search_whole(cell)

    def _confirm(
        self,
        cells: list[Cell],
        n_proposed: list[int],
        n_known: list[int],
        first: NDArray[np.int64],
        second: NDArray[np.int64],
    ) -> None:
        """Which of the proposed pairs (resident, other) are pairs."""
        self.held.hold(np.unique(np.concatenate([first, second])))
        near = near_pairs(first, second, self.search.products)
        index = np.repeat(np.arange(len(cells)), n_proposed)
        n_near = np.bincount(index[near], minlength=len(cells)) + np.array(n_known, np.int64)
        too_many = n_near > self.search.limit * np.array([cell.n_members for cell in cells])
        near &= ~too_many[index]
        self.pairs.append(self.search.confirmed(first[near], second[near]))
        for at in np.flatnonzero(too_many):
            self._search_whole(cells[at])

    def _search_whole(self, cell: Cell) -> None:
        visitors = self.cells.visitors_of(cell.number)
        self.held.hold(np.union1d(cell.residents, visitors))
        pairs, self.pools[cell.number] = self.search.all_pairs(cell.residents, visitors)
        self.pairs.append(pairs)

    def found(self, leader: NDArray[np.int64]) -> Found:
        """With what is carried, and the copies, by row."""
        group, carried = self.group, self.carried.outside(list(self.pools))
        first, second, cosine = joined(self.pairs)
        once = group.reported(first, second)
        first, second, cosine = first[once], second[once], cosine[once]
        is_leader = leader == np.arange(len(leader))
        copy = np.flatnonzero(np.isin(group.home, group.cells) & ~is_leader)
        one = np.concatenate([carried.first, first, leader[copy]])
        other = np.concatenate([carried.second, second, copy])
        a, b = (
            np.minimum(group.row[one], group.row[other]),
            np.maximum(group.row[one], group.row[other]),
        )
        cell = np.concatenate([carried.cell, group.home[first], group.home[copy]])
        is_copy = np.arange(len(a)) >= len(a) - len(copy)
        order = np.lexsort((b, a))
        pooled = np.concatenate([carried.pooled, *self.pools.values()])
        pool = np.concatenate(
            [carried.pool, *(np.full(len(p), n, np.int32) for n, p in self.pools.items())]
        )
        dense = DenseMembers.concatenate(
            [DenseMembers(group.row[pooled], pool, group.home[pooled] == pool)]
        )
        cosine = np.concatenate([carried.cosine, cosine, np.ones(len(copy), np.float32)])
        searched = np.flatnonzero(is_leader)
        searched = searched[np.argsort(group.row[searched])]
        counts = Counts(
            n_across_cells=int((group.home[one] != group.home[other]).sum()),
            n_carried=len(carried.first),
            n_compared=self.search.products.n_compared + self.proposals.n_compared,
            n_comparable=self.cells.n_comparable,
            n_cells_by_prefix=self.n_by_prefix,
            n_cells_by_vectors=self.n_by_vectors,
        )
        return Found(
            pairs=Pairs(a[order], b[order], cosine[order], is_copy[order], dense),
            cell=cell[order],
            searched=group.row[searched],
            key=group.key[searched],
            new=group.row[searched[carried.is_new[searched]]],
            counts=counts,
        )


def _places(cells: list[Cell]) -> NDArray[np.int64]:
    """int64, ascending: the members of some cells."""
    members = [part for cell in cells for part in (cell.residents, cell.visitors)]
    return np.unique(np.concatenate([np.zeros(0, np.int64), *members]))
