"""What a search for near-duplicates has found: pairs, and members whose pairs are not listed.

Legend: P pairs, M memberships of pools.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DenseMembers:
    """Which images are dense in which cell: the pool of a cell is its dense members.

    The search compares residents of a cell with residents and visitors, so two visitors of one
    pool are no pair of that cell.

    Attributes:
        row: int64 [M], the image.
        cell: int32 [M], the pool.
        resident: bool [M], whether the cell is the image's home; else it visits.
    """

    row: NDArray[np.int64]
    cell: NDArray[np.int32]
    resident: NDArray[np.bool_]

    @classmethod
    def none(cls) -> DenseMembers:
        """No pool at all."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.bool_))

    @classmethod
    def concatenate(cls, parts: Sequence[DenseMembers]) -> DenseMembers:
        """The pools of disjoint sets of cells, ordered by (cell, row)."""
        row = np.concatenate([np.zeros(0, np.int64), *(part.row for part in parts)])
        cell = np.concatenate([np.zeros(0, np.int32), *(part.cell for part in parts)])
        resident = np.concatenate([np.zeros(0, np.bool_), *(part.resident for part in parts)])
        order = np.lexsort((row, cell))
        return cls(row[order], cell[order], resident[order])

    def residents(self) -> DenseMembers:
        """Without the visitors: pairs within one cell."""
        at_home = np.flatnonzero(self.resident)
        return DenseMembers(self.row[at_home], self.cell[at_home], self.resident[at_home])


@dataclass(frozen=True)
class Pairs:
    """Near-duplicate pairs, ordered by (a, b), each once; those of dense members are not listed.

    Attributes:
        a: int64 [P], row of the first image.
        b: int64 [P], row of the second, ``a < b``.
        cosine: float32 [P], the float64 dot product of the two rows, rounded once.
        identical: bool [P], b is a copy of a (same vector, same cell): a was searched in its stead.
        dense: members of pools; two members of one pool, one of them a resident, may be a pair
            without being listed.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    cosine: NDArray[np.float32]
    identical: NDArray[np.bool_]
    dense: DenseMembers = field(default_factory=DenseMembers.none)

    @classmethod
    def concatenate(cls, parts: Sequence[Pairs]) -> Pairs:
        """All pairs of disjoint ``parts``, ordered by (a, b)."""
        a = np.concatenate([np.zeros(0, np.int64), *(part.a for part in parts)])
        b = np.concatenate([np.zeros(0, np.int64), *(part.b for part in parts)])
        cosine = np.concatenate([np.zeros(0, np.float32), *(part.cosine for part in parts)])
        identical = np.concatenate([np.zeros(0, np.bool_), *(part.identical for part in parts)])
        order = np.lexsort((b, a))
        dense = DenseMembers.concatenate([part.dense for part in parts])
        return cls(a[order], b[order], cosine[order], identical[order], dense)
