"""How fast a store answers from here, measured on objects that are removed again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

from curator_assets.storage.bucket.bucket import Bucket
from curator_assets.storage.bucket.upload import UPLOAD_PART_BYTES

LARGE_BYTES = UPLOAD_PART_BYTES - 1  # one request: from a part on it would be a multipart upload
_MIDDLE_BYTES = 1 << 20
_SLOW_SECONDS = 1.0
_N_TIMES = 5


@dataclass(frozen=True)
class ReadPace:
    """Of reading.

    Attributes:
        get_seconds: a few bytes, median of five.
        down_bytes_per_second: one object of 16 MiB, or 1 MiB where that takes over a second.
    """

    get_seconds: float
    down_bytes_per_second: float


@dataclass(frozen=True)
class Pace(ReadPace):
    """Of reading and writing.

    Attributes:
        put_seconds: an object of a few bytes, median of five.
        delete_seconds: likewise.
        up_bytes_per_second: one object, as `down_bytes_per_second`.
    """

    put_seconds: float
    delete_seconds: float
    up_bytes_per_second: float


def read_pace(read: Callable[[int], bytes]) -> ReadPace:
    """The pace of reading.

    Args:
        read: the first so many bytes of something large; fewer if it is smaller.

    Raises:
        OSError: it can't be read.
    """
    read(1)  # or the first would count the connecting
    get_seconds = median(_seconds(lambda: read(512)) for _ in range(_N_TIMES))
    return ReadPace(get_seconds, _rate(lambda n_bytes: len(read(n_bytes))))


def pace(bucket: Bucket, new_name: Callable[[], str]) -> Pace:
    """The pace of a bucket, which holds nothing more afterwards.

    Args:
        bucket: to be measured.
        new_name: a name that no object has.

    Raises:
        OSError: it can't be written, read or removed.
    """
    names = [new_name() for _ in range(_N_TIMES)]
    large = new_name()
    data = os.urandom(LARGE_BYTES)

    def put(name: str, n_bytes: int) -> int:
        with bucket.write(name) as file:
            file.write(data[:n_bytes])
        return n_bytes

    try:
        put(large, 1)
        put_seconds = median([_seconds(partial(put, name, 1)) for name in names])
        up = _rate(lambda n_bytes: put(large, n_bytes))
        reading = read_pace(lambda n_bytes: bucket.read_ranges(large, [(0, n_bytes)])[0])
        delete_seconds = median([_seconds(partial(bucket.remove, name)) for name in names])
    finally:
        for name in (*names, large):
            bucket.remove(name)
    return Pace(reading.get_seconds, reading.down_bytes_per_second, put_seconds, delete_seconds, up)


def _rate(move: Callable[[int], int]) -> float:
    """Bytes per second of a large object, or of a smaller one where that is slow already."""
    for n_bytes in (_MIDDLE_BYTES, LARGE_BYTES):
        started = time.perf_counter()
        n_moved = move(n_bytes)
        seconds = time.perf_counter() - started
        if seconds > _SLOW_SECONDS or n_moved < n_bytes:
            break
    return n_moved / max(seconds, 1e-9)


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
