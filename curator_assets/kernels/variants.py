"""Variants of formats that not every decoder reads as they were meant, by their headers.

They are whole and well formed: to call them corrupt would send people looking for damage.
"""

from __future__ import annotations

import struct

from curator_assets.kernels.tiff_tags import tiff_tags

_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _KIND = 258, 259, 262, 277, 339
_DEFAULTS = {_BITS: (1,), _COMPRESSION: (1,), _PHOTOMETRIC: (1,), _SAMPLES: (1,), _KIND: (1,)}

_PLAIN, _OLD_JPEG = 1, 6
_COMPRESSIONS = {_PLAIN, 2, 3, 4, 5, _OLD_JPEG, 7, 8, 32773, 32946, 50000}
"""None, CCITT's, LZW, JPEG, deflate, PackBits, zstd."""

_CMYK, _LAB = 5, 8
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
    tags = _tags(data)
    is_known = tags[_COMPRESSION][0] in _COMPRESSIONS
    return not (is_known and set(tags[_KIND]) <= {_UNSIGNED, _UNDEFINED})


def is_misread_by_nvimagecodec(data: bytes, image_format: str) -> bool:
    """Whether nvImageCodec refuses or mistakes a file that Pillow may read: some TIFF files.

    Of two channels it takes the second one for green, Lab it shows yellowish, without adapting the
    white point; it refuses plain bits and CMYK of 16 bits.

    Args:
        data: The encoded file.
        image_format: What `sniff_format` said.
    """
    if image_format != "tiff":
        return False
    tags = _tags(data)
    is_plain_bits = tags[_BITS][0] == 1 and tags[_COMPRESSION][0] == _PLAIN
    is_odd_colour = (tags[_PHOTOMETRIC][0], tags[_BITS][0]) in {(_CMYK, 16), (_LAB, 8)}
    return tags[_SAMPLES][0] == 2 or is_plain_bits or is_odd_colour


def is_rare_variant(data: bytes, image_format: str) -> bool:
    """Whether a decoder may well have given up for what the header announces, not for damage.

    JPEG of 12 bits, lossless, hierarchical or arithmetic, JPEG-LS; TIFF of old-style JPEG, or of
    odd depths and numbers of channels.

    Args:
        data: A whole file that a decoder gave up on.
        image_format: What `sniff_format` said.
    """
    if image_format == "tiff":
        tags = _tags(data)
        channels = (tags[_SAMPLES][0], tags[_BITS][0])
        is_usual = channels in {(1, 1), (1, 8), (1, 16), (2, 8), (3, 8), (3, 16), (4, 8), (4, 16)}
        return tags[_COMPRESSION][0] == _OLD_JPEG or not is_usual
    return image_format == "jpeg" and _is_rare_jpeg(data)


def _tags(data: bytes) -> dict[int, tuple[int, ...]]:
    """What a TIFF says of its pixels; the defaults where its directory is cut short."""
    try:
        found = tiff_tags(data, *_DEFAULTS)
    except struct.error:
        found = {}  # as decoding it shows
    return _DEFAULTS | {tag: values for tag, values in found.items() if values}


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
