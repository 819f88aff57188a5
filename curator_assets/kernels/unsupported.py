"""Variants of formats that no decoder here reads as they were meant, by their headers.

They are whole and well formed: to call them corrupt would send people looking for damage.
"""

from __future__ import annotations

import struct

from curator_assets.kernels.tiff_tags import tiff_tags

_COMPRESSION, _SAMPLE_FORMAT = 259, 339
_OLD_JPEG = 6
_COMPRESSIONS = {1, 2, 3, 4, 5, _OLD_JPEG, 7, 8, 32773, 32946, 50000}
"""None, CCITT's, LZW, JPEG, deflate, PackBits, zstd."""

_UNSIGNED, _UNDEFINED = 1, 4

_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # 0xF7: JPEG-LS
_USUAL_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive


def is_misread(data: bytes, image_format: str) -> bool:
    """Whether decoding would give another picture than was meant: some TIFF files.

    Those of an unknown compression come out black, and floats are taken to be white at 1, while it
    is 255 in the next file.

    Args:
        data: The encoded file.
        image_format: What `sniff_format` said.
    """
    if image_format != "tiff":
        return False
    compressions, kinds = _values(data, _COMPRESSION), _values(data, _SAMPLE_FORMAT)
    return not (compressions <= _COMPRESSIONS and kinds <= {_UNSIGNED, _UNDEFINED})


def is_rare_variant(data: bytes, image_format: str) -> bool:
    """Whether a decoder may well have given up for what the header announces, not for damage.

    JPEG of 12 bits, lossless, hierarchical or arithmetic, JPEG-LS; a TIFF of old-style JPEG.

    Args:
        data: A whole file that a decoder gave up on.
        image_format: What `sniff_format` said.
    """
    if image_format == "tiff":
        return _OLD_JPEG in _values(data, _COMPRESSION)
    return image_format == "jpeg" and _is_rare_jpeg(data)


def _values(data: bytes, tag: int) -> set[int]:
    try:
        return set(tiff_tags(data, tag).get(tag, ()))
    except struct.error:
        return set()  # cut short or damaged, as decoding it shows


def _is_rare_jpeg(data: bytes) -> bool:
    """Whether its first frame is of a rare kind, or not of 8 bits."""
    at = 2
    while at + 4 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAMES:
            return marker not in _USUAL_FRAMES or data[at + 4] != 8
        is_fill = marker == 0xFF
        at += 1 if is_fill else 2 + int.from_bytes(data[at + 2 : at + 4])
    return False
