"""What an earlier search of the same cells found, as far as it holds for the images of now.

Legend: S images that were searched, P pairs, Q members of pools.

Two images that an earlier search compared need not be compared again as long as vector, home and
visits of both are as they were (their keys are): what was found of them stays, wherever they lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from curator_assets.kernels.cell_group import CellGroup


@dataclass(frozen=True)
class KnownPairs:
    """Pairs that were found, and members of pools, by number of the image.

    Attributes:
        first: int64 [P].
        second: int64 [P].
        cosine: float32 [P].
        cell: int32 [P], in which the pair was found.
        pooled: int64 [Q], who was dense.
        pool: int32 [Q], in which cell.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    cosine: NDArray[np.float32]
    cell: NDArray[np.int32]
    pooled: NDArray[np.int64]
    pool: NDArray[np.int32]


@dataclass(frozen=True)
class EarlierSearch(KnownPairs):
    """What a search of the same cells with the same threshold found; images by number in `key`.

    Attributes:
        key: uint64 [S, 2], different images, copies but once.
    """

    key: NDArray[np.uint64]

    @classmethod
    def nothing(cls) -> EarlierSearch:
        """There was none."""
        none, cells = np.zeros(0, np.int64), np.zeros(0, np.int32)
        key = np.zeros((0, 2), np.uint64)
        return cls(none, none, np.zeros(0, np.float32), cells, none, cells, key)

    def among(self, group: CellGroup, leader: NDArray[np.int64]) -> CarriedPairs:
        """What of it holds for a group.

        Args:
            group: of these cells, or of some of them.
            leader: as ``CellGroup.leaders`` gives them.
        """
        leaders = np.flatnonzero(leader == np.arange(len(leader)))
        place = group.places_of(self.key, leaders)
        is_new = np.ones(len(leader), np.bool_)
        is_new[place[place >= 0]] = False
        first, second, member = place[self.first], place[self.second], place[self.pooled]
        kept = np.isin(self.cell, group.cells) & (first >= 0) & (second >= 0)
        stays = np.isin(self.pool, group.cells) & (member >= 0)
        return CarriedPairs(
            first[kept], second[kept], self.cosine[kept], self.cell[kept],
            member[stays], self.pool[stays], is_new,
        )  # fmt: skip


@dataclass(frozen=True)
class CarriedPairs(KnownPairs):
    """What of an earlier search holds; images by place in a group.

    Attributes:
        is_new: bool [M], whether an image was not searched then; true of copies.
    """

    is_new: NDArray[np.bool_]

    def n_in(self, cells: NDArray[np.int32]) -> NDArray[np.int64]:
        """int64 [C]: how many pairs were found in each of ``cells``."""
        highest = int(max(cells.max(initial=0), self.cell.max(initial=0)))
        counts: NDArray[np.int64] = np.bincount(self.cell, minlength=highest + 1)[cells]
        return counts

    def outside(self, cells: list[int]) -> CarriedPairs:
        """Without what was found in some cells, which are searched anew."""
        stays, remains = ~np.isin(self.cell, cells), ~np.isin(self.pool, cells)
        return CarriedPairs(
            self.first[stays], self.second[stays], self.cosine[stays], self.cell[stays],
            self.pooled[remains], self.pool[remains], self.is_new,
        )  # fmt: skip
