"""The images that take part in the search of some cells: residents of the cells, and visitors.

Legend: N images, D embedding width, K cells; of a group, M images, V visits, p directions.

A *place* is the index of an image among the M.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator_assets.kernels.cells import CellAssignment
from curator_assets.kernels.prefix import PrefixBasis
from curator_assets.kernels.visits import members_of, places_of_visits

Vectors = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""float32 [n, D] of int64 [n]: unit vectors, or their prefixes."""


@dataclass(frozen=True)
class CellGroup:
    """The residents and visitors of some cells.

    Attributes:
        cells: int32 [C], ascending.
        row: int64 [M], number of each image among all, each once.
        key: uint64 [M, 2], equal where vector, home and visits are.
        home: int32 [M], the cell of each, maybe none of these.
        visit_offsets: int64 [M + 1]; an image's visits are those from its offset to the next.
        visits: int32 [V], ascending within an image: a resident's all, a visitor's at least those
            in these cells.
        vectors: of places.
        width: D.
        prefix: float32 [M, p + 1], if any are to be used.
        prefix_slack: by how much a cosine may exceed the product of two of them.
    """

    cells: NDArray[np.int32]
    row: NDArray[np.int64]
    key: NDArray[np.uint64]
    home: NDArray[np.int32]
    visit_offsets: NDArray[np.int64]
    visits: NDArray[np.int32]
    vectors: Vectors
    width: int
    prefix: NDArray[np.float32] | None = None
    prefix_slack: float = 0.0

    @classmethod
    def of(
        cls,
        embeddings: NDArray[np.float32],
        assignment: CellAssignment,
        cells: Sequence[int] | NDArray[np.integer],
        basis: PrefixBasis | None = None,
    ) -> CellGroup:
        """The group of ``cells`` among images that are all in memory.

        Args:
            embeddings: float32 [N, D], unit L2 norm.
            assignment: of the N images.
            cells: in [0, K).
            basis: of the prefixes that are to be used, if any.

        Raises:
            ValueError: the assignment is of another number of images.
        """
        if len(embeddings) != len(assignment.home):
            raise ValueError(
                f"{len(embeddings)} embeddings but {len(assignment.home)} cell assignments"
            )
        wanted: NDArray[np.int32] = np.unique(np.asarray(cells, np.int32))
        counts = np.diff(assignment.visit_offsets)
        rows = members_of(wanted, assignment.home, counts, assignment.visits)
        visits = assignment.visits[places_of_visits(assignment.visit_offsets[rows], counts[rows])]
        offsets = np.concatenate([[0], np.cumsum(counts[rows])]).astype(np.int64)
        return cls(
            cells=wanted,
            row=rows,
            key=search_keys(embeddings, assignment)[rows],
            home=assignment.home[rows],
            visit_offsets=offsets,
            visits=visits,
            vectors=lambda places: embeddings[rows[places]],
            width=embeddings.shape[1],
            prefix=None if basis is None else basis.prefixes(embeddings[rows]),
            prefix_slack=0.0 if basis is None else basis.slack,
        )

    def leaders(self) -> NDArray[np.int64]:
        """int64 [M], for each image the place of the first of its key, by row."""
        leader = np.arange(len(self.row))
        ordered = np.sort(self.key[:, 0])
        shared = ordered[1:][ordered[1:] == ordered[:-1]]
        if not len(shared):
            return leader
        place = np.searchsorted(shared, self.key[:, 0])
        copies = np.flatnonzero(shared[np.minimum(place, len(shared) - 1)] == self.key[:, 0])
        key, row = self.key[copies], self.row[copies]
        order = np.lexsort((row, key[:, 1], key[:, 0]))
        starts = np.ones(len(order), np.bool_)
        starts[1:] = (key[order][1:] != key[order][:-1]).any(axis=1)
        leader[copies[order]] = copies[order[np.flatnonzero(starts)[np.cumsum(starts) - 1]]]
        return leader

    def places_of(self, key: NDArray[np.uint64], places: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64 [n]: which of ``places``, of different keys, has each of these keys; -1 for none.

        Args:
            key: uint64 [n, 2].
            places: int64, of this group.
        """
        order = places[np.argsort(self.key[places, 0])]
        ours = self.key[order]
        found = np.full(len(key), -1, np.int64)
        at = np.searchsorted(ours[:, 0], key[:, 0])
        left = np.arange(len(key))
        while len(left):  # once, but for halves of keys that are equal by chance
            left = left[at[left] < len(order)]
            left = left[ours[at[left], 0] == key[left, 0]]
            same = ours[at[left], 1] == key[left, 1]
            found[left[same]] = order[at[left[same]]]
            left = left[~same]
            at[left] += 1
        return found

    def reported(self, resident: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which pairs the resident's cell reports: not those that a lower cell meets as well.

        Args:
            resident: int64 [P], places of residents.
            other: int64 [P], of others in their cells.
        """
        other_home = self.home[other]
        reported = np.ones(len(resident), np.bool_)
        lower = np.flatnonzero(other_home < self.home[resident])
        if len(lower):
            n_cells = np.int64(1 + max(self.home.max(), self.visits.max(initial=0)))
            asked, inverse = np.unique(resident[lower], return_inverse=True)
            starts, counts = self.visit_offsets[asked], np.diff(self.visit_offsets)[asked]
            visits = self.visits[places_of_visits(starts, counts)]
            visited = np.repeat(np.arange(len(asked)), counts) * n_cells + visits
            reported[lower] = ~np.isin(inverse * n_cells + other_home[lower], visited)
        return reported


def search_keys(embeddings: NDArray[np.float32], assignment: CellAssignment) -> NDArray[np.uint64]:
    """uint64 [N, 2]: equal where vector, home and visits are, but for a chance of 2**-128.

    Args:
        embeddings: float32 [N, D]; 0.0 and -0.0 are equal.
        assignment: of the N images.
    """
    home, offsets = assignment.home.astype(np.int32), assignment.visit_offsets.tolist()
    keys = bytearray()
    for i, vector in enumerate(embeddings + np.float32(0.0)):
        digest = hashlib.sha256(vector.tobytes())
        digest.update(home[i : i + 1].tobytes())
        digest.update(assignment.visits[offsets[i] : offsets[i + 1]].tobytes())
        keys += digest.digest()[:16]
    return np.frombuffer(bytes(keys), "<u8").reshape(-1, 2)
