"""An object as a file to read: by ranges as they are asked for, or in parts that are read ahead."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

PART_BYTES = 8 << 20
N_PARTS_AHEAD = 4
"""So many parts of a file that is read from begin to end are asked for before they are needed."""

Fetch = Callable[[int, int], bytes]
"""The bytes from one place up to another."""


class RangedFile(io.RawIOBase):
    """Reads exactly what is asked for; the end of a small file at once.

    No part of it is bound to the version of the object that was there when it was opened: fsspec
    has no word for that. So a reader of an object that may be replaced meanwhile compares what it
    has read: a tar's signature before and after, pages and blocks by their checksums.

    Args:
        fetch: reads a range.
        n_bytes: of the object.
        tail_bytes: read in one request when the first read lies within them, and kept.
    """

    def __init__(self, fetch: Fetch, n_bytes: int, tail_bytes: int = 0) -> None:
        self._fetch, self._n_bytes, self._at = fetch, n_bytes, 0
        self._tail_from, self._tail = max(0, n_bytes - tail_bytes), b""

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to so many bytes from where it stands."""
        left = max(0, self._n_bytes - self._at)
        start, stop = self._at, self._at + (left if size is None or size < 0 else min(size, left))
        self._at = stop
        return self._range(start, stop) if stop > start else b""

    def readinto(self, buffer: object, /) -> int:
        """Likewise, into a buffer."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def _range(self, start: int, stop: int) -> bytes:
        if start < self._tail_from:
            return self._fetch(start, stop)
        if not self._tail:
            self._tail = self._fetch(self._tail_from, self._n_bytes)
        return self._tail[start - self._tail_from : stop - self._tail_from]

    def readall(self) -> bytes:
        """All that is left."""
        return self.read(-1)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Stand somewhere else."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._n_bytes}[whence]
        if base + offset < 0:
            raise ValueError(f"can't stand at {base + offset}")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Where it stands."""
        return self._at

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True


class ReadAheadFile(RangedFile):
    """Reads in large parts, of which the next are asked for before they are needed.

    It holds six parts, 48 MiB; after a jump for a while up to four more that were on their way.
    """

    def __init__(self, fetch: Fetch, n_bytes: int) -> None:
        super().__init__(fetch, n_bytes)
        self._threads = ThreadPoolExecutor(N_PARTS_AHEAD, "read-ahead")
        self._parts = dict[int, Future[bytes]]()

    def _range(self, start: int, stop: int) -> bytes:
        found = list[bytes]()
        for number in range(start // PART_BYTES, (stop - 1) // PART_BYTES + 1):
            part, begin = self._part(number), number * PART_BYTES
            found.append(part[max(0, start - begin) : stop - begin])
        return found[0] if len(found) == 1 else b"".join(found)

    def _part(self, number: int) -> bytes:
        """A part; those before it are forgotten, but for one, and those after it asked for."""
        n_parts = -(-self._n_bytes // PART_BYTES)
        wanted = range(number, min(n_parts, number + 1 + N_PARTS_AHEAD))
        for other in set(self._parts) - {number - 1, *wanted}:
            self._parts.pop(other).cancel()
        for other in wanted:
            if other not in self._parts:
                start = other * PART_BYTES
                stop = min(start + PART_BYTES, self._n_bytes)
                self._parts[other] = self._threads.submit(self._fetch, start, stop)
        try:
            return self._parts[number].result()
        except BaseException:
            del self._parts[number]  # or a second look would meet the same error
            raise

    def close(self) -> None:
        """End the threads; what is on its way is not waited for."""
        if not self.closed:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._parts.clear()
        super().close()
