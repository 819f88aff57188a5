"""What encoded bytes claim to be, judged by their first bytes and their own framing.

Nothing here decodes: `sniff_format` names the format, `why_refused` rules files out before they
reach a decoder, and `why_undecodable` tells one that was cut short from one that is damaged, and
both from one that no decoder here knows.
"""

from enum import StrEnum

from curator_assets.kernels.complete_files import is_complete
from curator_assets.kernels.markup import is_svg
from curator_assets.kernels.variants import is_misread, is_rare_variant

PILLOWS = frozenset({"gif", "avif", "heic"})
"""The formats that Pillow decodes."""

DECODABLE = frozenset({"jpeg", "png", "webp", "bmp", "tiff", "jpeg2000"}) | PILLOWS
"""The formats that are decoded: those that are not Pillow's by nvImageCodec."""


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
    (b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1"), "heic"
)
_SHARED_BRANDS = (b"mif1", b"msf1")  # of AVIF and HEIC alike


def sniff_format(data: bytes) -> str | None:
    """Name of the image format that `data` begins as, or None if it is no known image.

    The name is one of `DECODABLE`, or of a format that is recognised only to be refused by name
    (`jpegxl`, `psd`, `ico`, `exr`, `hdr`, `dds`, `pnm`, `svg`).
    """
    for prefix, name in _PREFIXES:
        if data.startswith(prefix):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        is_avif = data[8:12] in _SHARED_BRANDS and b"avif" in data[16 : int.from_bytes(data[:4])]
        return "avif" if is_avif else _BRANDS.get(data[8:12])
    if data[:1] == b"P" and data[1:2] in b"1234567" and data[2:3].isspace():
        return "pnm"
    return "svg" if is_svg(data) else None


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
    if image_format not in DECODABLE or is_misread(data, image_format):
        return DecodeError.UNSUPPORTED_FORMAT
    return None


def why_undecodable(data: bytes, image_format: str) -> DecodeError:
    """Why a decoder gave up on `data`.

    `TRUNCATED` if it is short of what its own framing announces, `UNSUPPORTED_FORMAT` if its header
    announces a variant that no decoder here reads, else `CORRUPT`.

    Args:
        data: A file that a decoder gave up on.
        image_format: What `sniff_format` said: one of `DECODABLE`.
    """
    if not is_complete(data, image_format):
        return DecodeError.TRUNCATED
    is_rare = is_rare_variant(data, image_format)
    return DecodeError.UNSUPPORTED_FORMAT if is_rare else DecodeError.CORRUPT
