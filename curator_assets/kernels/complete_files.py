"""Whether a file holds all that its own framing announces; nothing here decodes."""

from __future__ import annotations

import struct
from collections.abc import Callable

from curator_assets.kernels.tiff_tags import tiff_tags


def is_complete(data: bytes, image_format: str) -> bool:
    """Whether `data` holds all that its own framing announces; of an animation, its first frame.

    Args:
        data: The encoded file.
        image_format: One of `DECODABLE`.
    """
    try:
        return _COMPLETE[image_format](data)
    except (struct.error, IndexError):
        return False


def _jpeg_complete(data: bytes) -> bool:
    """Whether its last end marker lies after the start of its last scan; read from both ends."""
    end = data.rfind(b"\xff\xd9")
    return data.find(b"\xff\xda", 0, max(end, 0)) >= 0 > data.find(b"\xff\xda", end)


def _jpeg2000_complete(data: bytes) -> bool:
    return b"\xff\xd9" in data[-64:]


def _png_complete(data: bytes) -> bool:
    offset = 8
    while data[offset + 4 : offset + 8] != b"IEND":
        (length,) = struct.unpack_from(">I", data, offset)
        offset += 12 + length
    return bool(offset + 12 <= len(data))


def _webp_complete(data: bytes) -> bool:
    (riff_bytes,) = struct.unpack_from("<I", data, 4)
    return len(data) >= 8 + int(riff_bytes)


def _bmp_complete(data: bytes) -> bool:
    pixels_at, header_bytes = struct.unpack_from("<II", data, 10)
    if header_bytes < 40:
        return len(data) > int(pixels_at)
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression not in (0, 3):
        return len(data) > int(pixels_at)
    row_bytes = (abs(width) * bits + 31) // 32 * 4
    return len(data) >= int(pixels_at) + int(row_bytes * abs(height))


def _tiff_complete(data: bytes) -> bool:
    extents = tiff_tags(data, 273, 279, 324, 325)
    offsets = extents.get(273) or extents.get(324) or ()
    lengths = extents.get(279) or extents.get(325) or ()
    return all(a + b <= len(data) for a, b in zip(offsets, lengths, strict=False))


def _gif_complete(data: bytes) -> bool:
    """Whether the last block of its first frame is there."""
    offset = 13 + _palette_bytes(data[10])
    while data[offset] == 0x21:  # extensions
        offset = _after_blocks(data, offset + 2)
    if data[offset] != 0x2C:
        return True  # no frame begins here: nothing is missing that was announced
    offset += 10 + _palette_bytes(data[offset + 9])
    return _after_blocks(data, offset + 1) <= len(data)


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(data: bytes, offset: int) -> int:
    while data[offset]:
        offset += 1 + data[offset]
    return offset + 1


def _boxes_complete(data: bytes) -> bool:
    """Whether its boxes are there up to the end of metadata and of media data (AVIF, HEIC)."""
    offset, seen = 0, set[bytes]()
    while not {b"meta", b"mdat"} <= seen:
        n_bytes, name = struct.unpack_from(">I4s", data, offset)
        if n_bytes == 1:
            (n_bytes,) = struct.unpack_from(">Q", data, offset + 8)
        elif n_bytes == 0:
            n_bytes = len(data) - offset
        offset += max(int(n_bytes), 8)
        if offset > len(data):
            return False
        seen.add(name)
    return True


_COMPLETE: dict[str, Callable[[bytes], bool]] = {
    "jpeg": _jpeg_complete,
    "png": _png_complete,
    "webp": _webp_complete,
    "bmp": _bmp_complete,
    "tiff": _tiff_complete,
    "jpeg2000": _jpeg2000_complete,
    "gif": _gif_complete,
    "avif": _boxes_complete,
    "heic": _boxes_complete,
}
