"""A cell group's images from the files of all shards, as the pair search takes them.

Legend: *M images of a group, C cells*.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from curator_assets.storage.store import Store
from curator_assets.storage.tables.cell_files import (
    CellRows,
    ShardRows,
    read_cell_rows,
    read_vectors,
)
from curator_assets.storage.tables.pair_tables import RowNumbers

if TYPE_CHECKING:
    from curator_assets.kernels.cell_group import CellGroup

BYTES_OF_ROW, BYTES_OF_VISIT = 64, 4
"""Of an image of a group in memory, beside its prefix, and of each of its visits."""


class GroupFiles:
    """Some shards' images of one cell group.

    Args:
        store: where they lie.
        shards: those that bring anything to the group, in order of arrival.
        group: its number.
        cells: int32 [C], its cells, ascending.
        numbers: of all samples.
        width: D.
        prefix_slack: of the prefixes.
    """

    def __init__(
        self,
        store: Store,
        shards: Sequence[str],
        group: int,
        *,
        cells: NDArray[np.int32],
        numbers: RowNumbers,
        width: int,
        prefix_slack: float,
    ) -> None:
        self._store, self._shards, self._group, self._cells = store, shards, group, cells
        self._numbers, self._width, self._slack = numbers, width, prefix_slack

    def within(self, max_bytes: float, expected_bytes: float) -> Iterator[CellGroup]:
        """The group; or its cells in several runs, each of which takes no more memory, or one cell.

        Args:
            max_bytes: of the images of a run, but for their vectors.
            expected_bytes: of all of them.
        """
        if expected_bytes <= max_bytes:
            yield self.of(self._cells)
            return
        for run in self._runs(max_bytes):
            yield self.of(run)

    def _runs(self, max_bytes: float) -> list[NDArray[np.int32]]:
        """Cells one after another whose images together take no more memory, or one cell."""
        n_bytes = np.zeros(len(self._cells))
        for _, found in self._read():
            rows = found.rows
            size = BYTES_OF_ROW + 4 * rows.prefix.shape[1] + BYTES_OF_VISIT * rows.n_visits
            cell = np.concatenate([rows.home, rows.visits])
            weight = np.concatenate([size, np.repeat(size, rows.n_visits)])
            at = np.minimum(np.searchsorted(self._cells, cell), len(self._cells) - 1)
            here = self._cells[at] == cell
            n_bytes += np.bincount(at[here], weights=weight[here], minlength=len(self._cells))
        runs, start, taken = list[NDArray[np.int32]](), 0, 0.0
        for i, size in enumerate(n_bytes.tolist()):
            if i > start and taken + size > max_bytes:
                runs.append(self._cells[start:i])
                start, taken = i, 0.0
            taken += size
        return [*runs, self._cells[start:]]

    def of(self, cells: NDArray[np.int32]) -> CellGroup:
        """The residents and visitors of some of the cells."""
        from curator_assets.kernels.cell_group import CellGroup

        is_all, parts = len(cells) == len(self._cells), list[tuple[str, ShardRows]]()
        for shard, found in self._read():
            if not is_all:
                found = replace(found, rows=_of_cells(found.rows, cells))
            if len(found.rows.home):
                parts.append((shard, found))
        rows = CellRows.concatenate([found.rows for _, found in parts])
        starts = [self._numbers.rows_of(shard).start for shard, _ in parts]
        counts = [len(found.rows.home) for _, found in parts]
        return CellGroup(
            cells=cells,
            row=np.repeat(np.array(starts, np.int64), counts) + rows.position,
            key=rows.key,
            home=rows.home,
            visit_offsets=np.concatenate([[0], np.cumsum(rows.n_visits)]).astype(np.int64),
            visits=rows.visits,
            vectors=_Vectors(self._store, parts, self._width),
            width=self._width,
            prefix=rows.prefix if rows.prefix.shape[1] else None,
            prefix_slack=self._slack,
        )

    def _read(self) -> Iterator[tuple[str, ShardRows]]:
        for shard in self._shards:
            found = read_cell_rows(self._store, shard, self._group)
            if found is not None:
                yield shard, found


def _of_cells(rows: CellRows, cells: NDArray[np.int32]) -> CellRows:
    """Those that live in some cells or visit one."""
    takes_part = np.isin(rows.home, cells)
    visitor = np.repeat(np.arange(len(rows.home)), rows.n_visits)
    takes_part[visitor[np.isin(rows.visits, cells)]] = True
    return rows.take(np.flatnonzero(takes_part))


class _Vectors:
    """The vectors of a group's images, by place."""

    def __init__(self, store: Store, parts: Sequence[tuple[str, ShardRows]], width: int) -> None:
        self._store, self._parts, self._width = store, parts, width
        self._starts = np.cumsum([0, *(len(found.rows.home) for _, found in parts)])

    def __call__(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [n, D] of int64 [n], in any order."""
        vectors = np.empty((len(places), self._width), np.float32)
        part_of = np.searchsorted(self._starts, places, side="right") - 1
        for number in np.unique(part_of).tolist():
            shard, found = self._parts[number]
            at = np.flatnonzero(part_of == number)
            rows = places[at] - self._starts[number]
            vectors[at] = read_vectors(self._store, shard, found, rows)
        return vectors
