"""Who is compared with whom: residents and visitors of each cell of a group, new ones and others.

Legend: M images of a group, by place; C cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator_assets.kernels.cell_group import CellGroup
from curator_assets.kernels.tiles import Tile, TiledProducts


@dataclass(frozen=True)
class Cell:
    """Those of a cell among whom there are pairs that were not compared before.

    Attributes:
        number: of the cell.
        residents: int64, by place.
        visitors: int64, by place; the new ones alone if no resident is new.
        n_members: residents and visitors, all of them.
        is_new: bool [M].
    """

    number: int
    residents: NDArray[np.int64]
    visitors: NDArray[np.int64]
    n_members: int
    is_new: NDArray[np.bool_]

    def tiles(self, products: TiledProducts) -> Iterator[Tile]:
        """New residents against all, and the others against new visitors."""
        is_new = self.is_new[self.residents]
        new, others = self.residents[is_new], self.residents[~is_new]
        yield from products.tiles(new, np.concatenate([new, others, self.visitors]))
        newcomers = self.visitors[self.is_new[self.visitors]]
        yield from products.tiles(others, newcomers, apart=True)


class CellMembers:
    """The cells of a group and their members, copies of an image left out.

    Args:
        group: the cells.
        leader: int64 [M], as ``CellGroup.leaders`` gives them.
        is_new: bool [M].
    """

    def __init__(
        self, group: CellGroup, leader: NDArray[np.int64], is_new: NDArray[np.bool_]
    ) -> None:
        self._group, self._is_new = group, is_new
        numbers = (part.max(initial=0) for part in (group.cells, group.home, group.visits))
        index = np.full(1 + int(max(numbers)), -1, np.int32)
        index[group.cells] = np.arange(len(group.cells))
        is_leader = leader == np.arange(len(leader))
        residents = np.flatnonzero(is_leader & (index[group.home] >= 0))
        cell = index[group.home[residents]]
        order = _stable_order(cell, len(group.cells))
        self._residents, self._resident_cell = residents[order], cell[order]
        visitor = np.repeat(np.arange(len(leader)), np.diff(group.visit_offsets))
        cell = index[group.visits]
        inside = np.flatnonzero((cell >= 0) & is_leader[visitor])
        self._visitor, self._visited = visitor[inside], cell[inside]

    @property
    def n_comparable(self) -> int:
        """Pairs of members that a search of all compares, over all cells."""
        residents, visitors = self._n_members()
        return int((residents * (residents - 1) // 2 + residents * visitors).sum())

    def _n_members(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """int64 [C]: residents and visitors of each cell."""
        n_cells = len(self._group.cells)
        return (
            np.bincount(self._resident_cell, minlength=n_cells),
            np.bincount(self._visited, minlength=n_cells),
        )

    def cells(self) -> Iterator[Cell]:
        """The cells in which there is what to compare, by number."""
        numbers = self._group.cells
        edges = np.arange(len(numbers) + 1)
        has_new = np.zeros(len(numbers), np.bool_)
        has_new[self._resident_cell[self._is_new[self._residents]]] = True
        n_residents, n_visitors = self._n_members()
        n_members = (n_residents + n_visitors).tolist()
        compared = np.flatnonzero(has_new[self._visited] | self._is_new[self._visitor])
        compared = compared[_stable_order(self._visited[compared], len(numbers))]
        inside = np.searchsorted(self._resident_cell, edges).tolist()
        visiting = np.searchsorted(self._visited[compared], edges).tolist()
        visitors = self._visitor[compared]
        for i, number in enumerate(numbers.tolist()):
            here = self._residents[inside[i] : inside[i + 1]]
            come = visitors[visiting[i] : visiting[i + 1]]
            if len(here) and (has_new[i] or len(come)):
                yield Cell(number, here, come, n_members[i], self._is_new)

    def visitors_of(self, number: int) -> NDArray[np.int64]:
        """int64: all visitors of a cell, by place."""
        index = int(np.searchsorted(self._group.cells, number))
        return np.asarray(self._visitor[self._visited == index])


def _stable_order(values: NDArray[np.integer], limit: int) -> NDArray[np.int64]:
    """Stable argsort of values in [0, limit): of 16 bits it is linear."""
    narrow = values.astype(np.uint16) if limit <= 2**16 else values
    return np.argsort(narrow, kind="stable")
