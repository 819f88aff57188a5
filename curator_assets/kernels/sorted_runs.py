"""Records in order of a key, more of them than fit into memory.

Legend: n records.

As many as fit are sorted and written as a run. At the end each piece of the order is read from all
runs and merged, so every record is written once and read once. What fits as a whole is written
nowhere.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Scratch = Callable[[], IO[bytes]]
"""Opens an empty file, to be written and read, that is gone once it is closed."""

Records = NDArray[Any]
"""Structured [n]."""

RUN_BYTES = 2**25
_N_MARKS = 256
"""Keys of a run that are kept in memory, to find a place in it."""


@dataclass(frozen=True)
class _Run:
    """Sorted records in the file."""

    offset: int
    n_records: int
    dtype: np.dtype[Any]
    step: int  # records from one mark to the next
    marks: NDArray[Any]


class SortedRuns:
    """Records, ordered by one field; those with equal keys in the order in which they came.

    About `RUN_BYTES` are in memory, thrice that while pieces are read; more where one key has more
    records than that, since they come in one piece.

    Args:
        key: the field: a number, or bytes without a zero byte at their end that counts.
        scratch: where runs go.
    """

    def __init__(self, key: str, scratch: Scratch) -> None:
        self._key, self._scratch = key, scratch
        self._held = list[Records]()
        self._runs = list[_Run]()
        self._n_held, self._item_bytes, self._n_bytes = 0, 1, 0
        self._file: IO[bytes] | None = None

    def __len__(self) -> int:
        """How many records there are."""
        return self._n_held + sum(run.n_records for run in self._runs)

    def append(self, records: Records) -> None:
        """Add records: of the same fields always; those of bytes may differ in width."""
        if not len(records):
            return
        item_bytes = max(self._item_bytes, records.dtype.itemsize)
        if self._held and (self._n_held + len(records)) * item_bytes > RUN_BYTES:
            self._write_run()
            item_bytes = records.dtype.itemsize
        self._held.append(records)
        self._n_held += len(records)
        self._item_bytes = item_bytes

    def pieces(self) -> Iterator[Records]:
        """All records in order, piece by piece, as often as wanted; equal keys are in one piece."""
        if not self._runs:
            if self._held:
                self._held = [self._sorted(self._held)]
                yield self._held[0]
            return
        if self._held:
            self._write_run()
        starts = [0] * len(self._runs)
        for bound in self._bounds():
            ends = [self._place_of(bound, run) for run in self._runs]
            yield from self._piece(starts, ends)
            starts = ends
        yield from self._piece(starts, [run.n_records for run in self._runs])

    def _piece(self, starts: list[int], ends: list[int]) -> Iterator[Records]:
        spans = zip(self._runs, starts, ends, strict=True)
        parts = [self._read(run, start, end) for run, start, end in spans if start < end]
        if parts:
            yield self._sorted(parts)

    def _sorted(self, parts: list[Records]) -> Records:
        records = np.concatenate(parts) if len(parts) > 1 else parts[0]
        # a stable sort of runs that are sorted is a merge
        return records[np.argsort(np.ascontiguousarray(records[self._key]), kind="stable")]

    def _bounds(self) -> NDArray[Any]:
        """Keys that cut the order into pieces of about the size of a run."""
        n_bytes = len(self) * max(run.dtype.itemsize for run in self._runs)
        marks = np.sort(np.concatenate([run.marks for run in self._runs]))
        n_pieces = -(-n_bytes // RUN_BYTES)
        return np.unique(marks[len(marks) * np.arange(1, n_pieces) // n_pieces])

    def _place_of(self, bound: object, run: _Run) -> int:
        """How many records of a run have a key below the bound."""
        mark = int(np.searchsorted(run.marks, bound))  # type: ignore[call-overload]
        if not mark:
            return 0
        low, high = (mark - 1) * run.step + 1, min(mark * run.step, run.n_records)
        while low < high:
            middle = (low + high) // 2
            if self._read(run, middle, middle + 1)[self._key][0] < bound:
                low = middle + 1
            else:
                high = middle
        return low

    def _read(self, run: _Run, start: int, end: int) -> Records:
        assert self._file is not None  # there is a run
        self._file.seek(run.offset + start * run.dtype.itemsize)
        return np.frombuffer(self._file.read((end - start) * run.dtype.itemsize), run.dtype)

    def _write_run(self) -> None:
        if self._file is None:
            self._file = self._scratch()
            weakref.finalize(self, self._file.close)
        records = self._sorted(self._held)
        step = -(-len(records) // _N_MARKS)
        marks = np.ascontiguousarray(records[self._key][::step])
        self._runs.append(_Run(self._n_bytes, len(records), records.dtype, step, marks))
        self._file.seek(self._n_bytes)
        self._file.write(records.view(np.uint8).data)
        self._n_bytes += records.nbytes
        self._held, self._n_held, self._item_bytes = [], 0, 1
