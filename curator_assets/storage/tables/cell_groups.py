"""A cell group's images from the files of all shards, as the pair search takes them.

Legend: *M images of a group, C cells, D embedding width*.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from curator_assets.errors import DamagedFileError
from curator_assets.kernels.visits import members_of
from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables.assignments import group_digest
from curator_assets.storage.tables.cell_rows import CellRows, read_cell_rows
from curator_assets.storage.tables.cell_vectors import StoredVectors
from curator_assets.storage.tables.pair_tables import RowNumbers

if TYPE_CHECKING:
    from curator_assets.kernels.cell_group import CellGroup

BYTES_OF_ROW, BYTES_OF_VISIT = 64, 4
"""Of an image of a group in memory, beside its prefix, and of each of its visits."""

IN_MEMORY = 2
"""How often an image of a group is in memory while the shards' are joined."""


class GroupFiles:
    """Some shards' images of one cell group.

    Args:
        store: where they lie.
        digests: what each shard that brings anything to the group brings, in order of arrival, by
            `group_digest`.
        group: its number.
        cells: int32 [C], its cells, ascending.
        numbers: of all samples.
        width: D.
        prefix_slack: of the prefixes.
    """

    def __init__(
        self,
        store: Store,
        digests: Mapping[str, str],
        group: int,
        *,
        cells: NDArray[np.int32],
        numbers: RowNumbers,
        width: int,
        prefix_slack: float,
    ) -> None:
        self._store, self._digests, self._group, self._cells = store, digests, group, cells
        self._numbers, self._width, self._slack = numbers, width, prefix_slack

    def runs(self, max_bytes: float, expected_bytes: float) -> list[NDArray[np.int32]]:
        """All cells, or, where their images would not fit into memory, runs of them.

        Args:
            max_bytes: of the images of a run, but for their vectors; one cell may take more.
            expected_bytes: of the images of all cells.
        """
        if expected_bytes <= max_bytes:
            return [self._cells]
        n_bytes = np.zeros(len(self._cells))
        for rows, _ in self._read():
            size = BYTES_OF_ROW + 4 * rows.prefix.shape[1] + BYTES_OF_VISIT * rows.n_visits
            cell = np.concatenate([rows.home, rows.visits])
            weight = np.concatenate([size, np.repeat(size, rows.n_visits)])
            at = np.minimum(np.searchsorted(self._cells, cell), len(self._cells) - 1)
            here = self._cells[at] == cell
            n_bytes += np.bincount(at[here], weights=weight[here], minlength=len(self._cells))
        runs, start, taken = list[NDArray[np.int32]](), 0, 0.0
        for i, size in enumerate((IN_MEMORY * n_bytes).tolist()):
            if i > start and taken + size > max_bytes:
                runs.append(self._cells[start:i])
                start, taken = i, 0.0
            taken += size
        return [*runs, self._cells[start:]]

    def of(self, cells: NDArray[np.int32]) -> CellGroup:
        """The residents and visitors of some of the cells."""
        from curator_assets.kernels.cell_group import CellGroup

        is_all = len(cells) == len(self._cells)
        starts, parts, vectors = list[int](), list[CellRows](), list[StoredVectors]()
        for rows, stored in self._read():
            starts.append(self._numbers.rows_of(stored.shard).start)
            if not is_all:
                chosen = members_of(cells, rows.home, rows.n_visits, rows.visits)
                rows, stored = rows.take(chosen), stored.take(chosen)
            parts.append(rows)
            vectors.append(stored)
        counts = [len(part.home) for part in parts]
        rows = CellRows.concatenate(parts)
        return CellGroup(
            cells=cells,
            row=np.repeat(np.array(starts, np.int64), counts) + rows.position,
            key=rows.key,
            home=rows.home,
            visit_offsets=np.concatenate([[0], np.cumsum(rows.n_visits)]).astype(np.int64),
            visits=rows.visits,
            vectors=_Vectors(self._store, vectors, self._width),
            width=self._width,
            prefix=rows.prefix if rows.prefix.shape[1] else None,
            prefix_slack=self._slack,
        )

    def _read(self) -> Iterator[tuple[CellRows, StoredVectors]]:
        """What each shard brings, as it was recorded."""
        for shard, digest in self._digests.items():
            found = read_cell_rows(self._store, shard, self._group)
            if found is None or group_digest(found[0]) != digest:
                name = layout.cell_rows(shard)
                raise DamagedFileError(
                    name, self._store.url(name), f"cell group {self._group} is not as recorded"
                )
            yield found


class _Vectors:
    """The vectors of a group's images, by place."""

    def __init__(self, store: Store, parts: Sequence[StoredVectors], width: int) -> None:
        self._store, self._parts, self._width = store, parts, width
        self._starts = np.cumsum([0, *(len(part.place) for part in parts)])

    def __call__(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [n, D] of int64 [n], in any order."""
        vectors = np.empty((len(places), self._width), np.float32)
        order = np.argsort(places, kind="stable")
        cuts = np.searchsorted(places[order], self._starts)
        for part, start, first, last in zip(
            self._parts, self._starts, cuts, cuts[1:], strict=False
        ):
            if first < last:
                at = order[first:last]
                vectors[at] = part.read(self._store, places[at] - start)
        return vectors
