"""The blocks of a segment: mapped where they lie on this machine, and of a bucket read by range."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from curator_assets.storage.bucket.spans import merged
from curator_assets.storage.local_files import FULL
from curator_assets.storage.room import OutputError
from curator_assets.storage.scratch import Scratch
from curator_assets.storage.store import Store

REQUEST_BYTES = 1 << 20
"""A request takes about as long as so many bytes: 20 ms at 50 MB/s."""

_AT_ONCE_BYTES = 32 << 20
_LOG = logging.getLogger(__name__)


class Blocks:
    """Records of one size that lie one after the other from the begin of a file.

    Of a bucket each look costs requests and bytes. Once these come to what it costs to fetch all
    blocks, they are fetched to the scratch disk: so no more than twice the least is ever paid, how
    many looks there may be. Where the disk has no room they go on by range.

    Args:
        store: where the file lies.
        name: of the file.
        kind: of a block.
        n_blocks: of them.
    """

    def __init__(self, store: Store, name: str, kind: np.dtype[Any], n_blocks: int) -> None:
        self._store, self._name, self._kind, self._n_blocks = store, name, kind, n_blocks
        self._mapped: np.ndarray | None = None
        self._spent, self._has_room = 0, True

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Blocks of these numbers, int64 [B], ascending.

        Raises:
            FileNotFoundError: the file is gone.
        """
        if not len(numbers):
            return np.zeros(0, self._kind)
        if self._mapped is None and self._store.is_local:
            self._mapped = self._map(self._store.path(self._name))
        if self._mapped is None:
            ranges = self._ranges(numbers)
            self._spent += _cost(ranges)
            if self._spent < _cost([(0, self._n_bytes)]) or not self._fetch():
                return np.frombuffer(
                    b"".join(self._store.read_ranges(self._name, ranges)), self._kind
                )
        return np.asarray(self._mapped[numbers])  # type: ignore[index]

    @property
    def _n_bytes(self) -> int:
        return self._n_blocks * self._kind.itemsize

    def _ranges(self, numbers: np.ndarray) -> list[tuple[int, int]]:
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        runs = [(int(run[0]), int(run[-1]) + 1) for run in np.split(numbers, breaks)]
        return [(start * self._kind.itemsize, stop * self._kind.itemsize) for start, stop in runs]

    def _fetch(self) -> bool:
        """Have all blocks on the scratch disk, if there is room."""
        scratch = Scratch(self._store)
        try:
            if not self._has_room:
                return False
            scratch.require(self._n_bytes)
            with scratch.open() as file:
                for start in range(0, self._n_bytes, _AT_ONCE_BYTES):
                    part = start, min(start + _AT_ONCE_BYTES, self._n_bytes)
                    file.writelines(self._store.read_ranges(self._name, [part]))
                file.flush()
                self._mapped = self._map(file)
        except OutputError as error:
            self._go_on_by_range(error)
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._go_on_by_range(error)
        return self._mapped is not None

    def _go_on_by_range(self, why: Exception) -> None:
        self._has_room = False
        _LOG.warning("%s is read by range: %s", self._store.url(self._name), why)

    def _map(self, file: Any) -> np.ndarray:
        return np.memmap(file, self._kind, "r", shape=(self._n_blocks,))


def _cost(ranges: list[tuple[int, int]]) -> int:
    spans = merged(ranges)
    n_bytes = sum((stop or 0) - start for start, stop in spans)
    return len(spans) * REQUEST_BYTES + n_bytes
