"""The embeddings of a shard's images, ordered by cell in long runs: only those asked for are read.

Legend: *N images, D embedding width, M images of one cell group*.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator_assets.storage import layout
from curator_assets.storage.bucket.spans import MAX_GAP_BYTES
from curator_assets.storage.store import Store
from curator_assets.storage.tables.parquet import named_damage, unit_rows

_LOCAL_GAP_BYTES, _BUCKET_GAP_BYTES = 2**14, MAX_GAP_BYTES
"""What is read along between two vectors."""

_READ_BYTES = 2**26
"""Read at a time, or one vector."""


@dataclass(frozen=True)
class StoredVectors:
    """Where the vectors of some images of a shard lie.

    Attributes:
        shard: its name.
        place: int64 [M], in its file.
        crc: uint32 [M], CRC-32 of each.
        dtype: float32 or float16, as they are stored.
        width: D.
    """

    shard: str
    place: NDArray[np.int64]
    crc: NDArray[np.uint32]
    dtype: np.dtype[Any]
    width: int

    def take(self, rows: NDArray[np.int64]) -> StoredVectors:
        """Some of them, int64 [n]."""
        return replace(self, place=self.place[rows], crc=self.crc[rows])

    def read(self, store: Store, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Some of them.

        Args:
            store: where the file lies.
            rows: int64 [n], which of the M.

        Returns:
            float32 [n, D], unit L2 norm.

        Raises:
            FileNotFoundError: there is no file of this shard.
            DamagedFileError: it does not hold what was written.
        """
        name = layout.cell_vectors(self.shard)
        places, first, inverse = np.unique(self.place[rows], return_index=True, return_inverse=True)
        stored, done = np.empty((len(places), self.width), self.dtype), 0
        with named_damage(store, name):
            for runs in self._runs(places, is_local=store.is_local):
                n_bytes = self.dtype.itemsize * self.width
                ranges = [(int(run[0]) * n_bytes, (int(run[-1]) + 1) * n_bytes) for run in runs]
                for run, data in zip(runs, store.read_ranges(name, ranges), strict=True):
                    block = np.frombuffer(data, self.dtype).reshape(-1, self.width)
                    stored[done : done + len(run)] = block[run - run[0]]
                    done += len(run)
            if (row_checksums(stored) != self.crc[rows[first]]).any():
                raise ValueError("some of its vectors are not those that were written")
        return unit_rows(stored)[inverse]

    def _runs(
        self, places: NDArray[np.int64], *, is_local: bool
    ) -> Iterator[list[NDArray[np.int64]]]:
        """Ascending places, cut where there is much between them, some runs at a time."""
        n_bytes = self.dtype.itemsize * self.width
        gap = (_LOCAL_GAP_BYTES if is_local else _BUCKET_GAP_BYTES) // n_bytes
        most = max(1, _READ_BYTES // n_bytes)
        if not len(places):
            return
        is_cut = (np.diff(places) > 1 + gap) | (np.diff(places // most) > 0)
        runs = np.split(places, np.flatnonzero(is_cut) + 1)
        taken, n_rows = list[NDArray[np.int64]](), 0
        for run in runs:
            n_rows += int(run[-1] - run[0]) + 1
            if taken and n_rows > most:
                yield taken
                taken, n_rows = [], int(run[-1] - run[0]) + 1
            taken.append(run)
        yield taken


def row_checksums(stored: NDArray[Any]) -> NDArray[np.uint32]:
    """uint32 [N]: CRC-32 of each row of [N, D]."""
    rows = np.ascontiguousarray(stored)
    return np.fromiter(map(zlib.crc32, rows), np.uint32, len(rows))
