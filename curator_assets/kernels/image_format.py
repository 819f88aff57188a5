"""What encoded bytes claim to be, judged by their first bytes and their own framing.

Nothing here decodes: `sniff_format` names the format, `why_refused` rules files out before they
reach a decoder, and `why_undecodable` tells one that was cut short from one that is damaged.
"""

import struct
from collections.abc import Callable
from enum import StrEnum

DECODABLE = frozenset({"jpeg", "png", "webp", "bmp", "tiff", "jpeg2000"})
"""The formats that nvImageCodec decodes on CPU and on GPU."""


class DecodeError(StrEnum):
    """Why an image gave no pixels."""

    EMPTY = "empty"
    TRUNCATED = "truncated"
    NOT_AN_IMAGE = "not an image"
    UNSUPPORTED_FORMAT = "unsupported format"
    TOO_MANY_PIXELS = "too many pixels"
    CORRUPT = "corrupt"
    CRASHED = "decoder crashed"
    HUNG = "decoder hung"
    OUT_OF_MEMORY = "out of memory"


_PREFIXES = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"BM", "bmp"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "jpeg2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "jpegxl"),
    (b"\xff\x0a", "jpegxl"),
    (b"8BPS", "psd"),
    (b"\x00\x00\x01\x00", "ico"),
    (b"\x76\x2f\x31\x01", "exr"),
    (b"#?RADIANCE", "hdr"),
    (b"DDS ", "dds"),
)
_BRANDS = {b"avif": "avif", b"avis": "avif"} | dict.fromkeys(
    (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "heic"
)


def sniff_format(data: bytes) -> str | None:
    """Name of the image format that `data` begins as, or None if it is no known image.

    The name is one of `DECODABLE`, or of a format that is recognised only to be refused by name
    (`gif`, `avif`, `heic`, `jpegxl`, `psd`, `ico`, `exr`, `hdr`, `dds`, `pnm`, `svg`).
    """
    for prefix, name in _PREFIXES:
        if data.startswith(prefix):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12])
    if data[:1] == b"P" and data[1:2] in b"1234567" and data[2:3].isspace():
        return "pnm"
    if b"<svg" in data[:512]:
        return "svg"
    return None


def why_refused(data: bytes, image_format: str | None) -> DecodeError | None:
    """Reason not to decode `data` at all, or None.

    Args:
        data: The encoded file.
        image_format: What `sniff_format` said.
    """
    if not data:
        return DecodeError.EMPTY
    if image_format is None:
        return DecodeError.NOT_AN_IMAGE
    return None if image_format in DECODABLE else DecodeError.UNSUPPORTED_FORMAT


def why_undecodable(data: bytes, image_format: str | None) -> DecodeError:
    """`TRUNCATED` if `data` is short of what its own framing announces, else `CORRUPT`.

    Args:
        data: A file that a decoder gave up on.
        image_format: What `sniff_format` said: one of `DECODABLE`.
    """
    complete = is_complete(data, image_format or "")
    return DecodeError.CORRUPT if complete else DecodeError.TRUNCATED


def is_complete(data: bytes, image_format: str) -> bool:
    """Whether `data` holds all that its own framing announces.

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
    order = "<" if data[:2] == b"II" else ">"
    if struct.unpack_from(order + "H", data, 2)[0] == 43:
        return int(struct.unpack_from(order + "Q", data, 8)[0]) + 8 <= len(data)
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (n_entries,) = struct.unpack_from(order + "H", data, directory)
    extents: dict[int, list[int]] = {}
    for entry in range(directory + 2, directory + 2 + 12 * n_entries, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", data, entry)
        if tag in (273, 279, 324, 325) and kind in (3, 4):
            code, width = ("H", 2) if kind == 3 else ("I", 4)
            inline = count * width <= 4
            at = entry + 8 if inline else struct.unpack_from(order + "I", data, entry + 8)[0]
            if at + count * width > len(data):
                return False
            extents[tag] = list(struct.unpack_from(f"{order}{count}{code}", data, at))
    offsets = extents.get(273) or extents.get(324) or []
    lengths = extents.get(279) or extents.get(325) or []
    return all(a + b <= len(data) for a, b in zip(offsets, lengths, strict=False))


_COMPLETE: dict[str, Callable[[bytes], bool]] = {
    "jpeg": _jpeg_complete,
    "png": _png_complete,
    "webp": _webp_complete,
    "bmp": _bmp_complete,
    "tiff": _tiff_complete,
    "jpeg2000": _jpeg2000_complete,
}
