"""What decoding an image takes at its peak, and a bound on what all threads take together.

The figures are the growth of a process over the decoding of one image, the picture that is handed
on included and the file's own bytes not, as `benchmarks/decode_memory.py` measures it, rounded up.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PEAK_BYTES_PER_PIXEL = 28
"""Images that would take more than this for each of `max_pixels` are refused like larger ones.

The dearest that are common take 27: a PNG of 16-bit RGBA with an animation. What is refused has
tiles much larger than itself, or more than four channels.
"""

BASE_BYTES = 256 << 20
"""What any image may take besides, however few pixels are allowed."""

_FIXED_BYTES = 2 << 20
_BYTES_PER_LINE = 32
_BYTES_PER_TILE = 64
_JPEG_BLOCK = 32
_PILLOW_BLOCK = 64


def most_bytes(max_pixels: int) -> int:
    """The most that decoding one image takes that is not refused."""
    return PEAK_BYTES_PER_PIXEL * max_pixels + BASE_BYTES


def decoding_bytes(stream: Any) -> int:
    """What decoding takes at its peak.

    Args:
        stream: nvImageCodec's, or Pillow's, which may have one of nvImageCodec's behind it.
    """
    behind = getattr(stream, "opaque", None)
    if behind is not None:
        return max(_peak_of(stream), _peak_of(behind))
    return _peak_of(stream)


def _peak_of(stream: Any) -> int:
    peak = _PEAKS.get(getattr(stream, "codec_name", ""), _by_pillow)
    fixed = _FIXED_BYTES + _BYTES_PER_LINE * int(stream.height + stream.width)
    return fixed + peak(stream, stream.width * stream.height)


def _by_pillow(stream: Any, n_pixels: int) -> int:
    """With RGBA laid over white: JPEG 2000 and WebP 24, AVIF 17, HEIC, PNG and TIFF 14, GIF 10.

    AVIF and HEIC are coded in blocks of up to 64 pixels a side, the last ones filled up.
    """
    rows, columns = -(-stream.height // _PILLOW_BLOCK), -(-stream.width // _PILLOW_BLOCK)
    return int(26 * rows * columns * _PILLOW_BLOCK**2)


def _jpeg(stream: Any, n_pixels: int) -> int:
    """All coefficients of a progressive one in 16 bits, blocks filled up; the picture."""
    rows, columns = -(-stream.height // _JPEG_BLOCK), -(-stream.width // _JPEG_BLOCK)
    filled_up = rows * columns * _JPEG_BLOCK**2
    return int(filled_up * max(6, 2 * stream.num_channels + 3))


def _png(stream: Any, n_pixels: int) -> int:
    """Of an animated one three frames of four channels; the picture. Others take 6 in all."""
    return n_pixels * (12 * _sample_bytes(stream) + 3)


def _tiff(stream: Any, n_pixels: int) -> int:
    """The picture, once more if it is turned; a tile, which may be larger than it; their places."""
    tile = stream.tile_width * stream.tile_height * stream.num_channels * _sample_bytes(stream)
    places = stream.num_tiles_x * stream.num_tiles_y * stream.num_channels * _BYTES_PER_TILE
    return int(7 * n_pixels + tile + places)


def _jpeg2000(stream: Any, n_pixels: int) -> int:
    """32 bits a channel, of one of several tiles once more; the picture; compressed blocks."""
    tile = 0
    if stream.num_tiles_x * stream.num_tiles_y > 1:
        tile = min(stream.tile_width * stream.tile_height, n_pixels)
    return int(4 * n_pixels + 4 * stream.num_channels * (n_pixels + tile) + 2 * stream.size)


def _sample_bytes(stream: Any) -> int:
    return int(stream.dtype.itemsize)


_PEAKS: dict[str, Callable[[Any, int], int]] = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": lambda stream, n_pixels: 12 * n_pixels,  # an animated one 11, others 7
    "bmp": lambda stream, n_pixels: 7 * n_pixels,
    "tiff": _tiff,
    "jpeg2k": _jpeg2000,
}


class DecodingMemory:
    """Lets threads decode as long as all that they take together stays within a bound.

    First come, first served: a large image waits for those before it only, and holds back those
    that come after it. What glibc keeps of freed memory, up to 64 MiB a thread, is not counted: to
    have it given back (`mallopt`) made the encoder slower.

    Args:
        max_bytes: over all threads.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._held = 0
        self._waiting = deque[object]()
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, n_bytes: int) -> Iterator[None]:
        """Wait until so many bytes are free, and have them for the time inside.

        More than `max_bytes` are had when nothing else is; what a thread holds it must not add to.
        """
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            self._changed.wait_for(lambda: self._waiting[0] is ticket and self._has_room(n_bytes))
            self._waiting.popleft()
            self._held += n_bytes
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._held -= n_bytes
                self._changed.notify_all()

    def _has_room(self, n_bytes: int) -> bool:
        return self._held == 0 or self._held + n_bytes <= self.max_bytes
