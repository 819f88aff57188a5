"""Which images native code works on at the moment, in memory that outlives the process.

A worker writes it. Its supervisor reads it: while the worker lives to see what takes too long, and
once it died to see what it may have died of.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np

N_ROWS = 1 << 15
"""Images in flight that are told of; of more at a time, the last to come are not."""

_ROW = np.dtype([("name", "S32"), ("n_beside", "i8"), ("began", "f8"), ("until", "f8")])
"""Each number lies on a multiple of 8 bytes, where it is written and read in one piece."""


@dataclass(frozen=True)
class Flying:
    """An image in flight; times are of the monotonic clock, which is one for all processes.

    Attributes:
        name: its content hash.
        n_beside: how many images native code got together with it.
        began: seconds, when native code got it.
        until: seconds, when it should be through at the latest.
    """

    name: str
    n_beside: int
    began: float
    until: float


class InFlight:
    """The images in flight of one worker.

    Args:
        fd: of a file of `create`, which this object does not close.
    """

    def __init__(self, fd: int) -> None:
        self._rows = np.frombuffer(mmap.mmap(fd, N_ROWS * _ROW.itemsize), _ROW)
        self._free = list(range(N_ROWS))

    @staticmethod
    def create() -> int:
        """The descriptor of a new file in memory, with room for all rows."""
        fd = os.memfd_create("images-in-flight")
        os.truncate(fd, N_ROWS * _ROW.itemsize)
        return fd

    @contextmanager
    def hold(self, seconds_per_image: float, names: Sequence[str]) -> Iterator[None]:
        """Tell of images until the block ends; from any thread.

        Args:
            seconds_per_image: that the block may take.
            names: the images' content hashes.
        """
        rows = list[int]()
        with suppress(IndexError):  # no row is free
            for _ in names:
                rows.append(self._free.pop())
        began = time.monotonic()
        until = began + seconds_per_image * len(names)
        for row, name in zip(rows, names, strict=False):
            self._rows[row] = (name, len(names) - 1, began, until)
        try:
            yield
        finally:
            self._rows["until"][rows] = 0
            self._free += rows

    def found(self) -> list[Flying]:
        """What is in flight, the last that began first."""
        rows = self._rows[self._rows["until"] > 0].tolist()
        found = [Flying(name.decode(), *others) for name, *others in rows]
        return sorted(found, key=lambda flying: -flying.began)

    def overdue(self) -> list[Flying]:
        """What should have been through by now, the last that began first.

        A row may be read while it is written: what is overdue is so at the next look as well.
        """
        if not (self._rows["until"] > 0).any():
            return []
        return [flying for flying in self.found() if flying.until < time.monotonic()]
