"""Transparent pictures as people see them: over white, or over black where white hides them.

Colours below transparent pixels are leftovers of whoever made the file. To measure or embed them
would make all black icons one black square, and two copies of a picture different.
"""

from __future__ import annotations

import struct

from PIL import Image, ImageStat

from curator_assets.kernels.tiff_tags import tiff_tags

MIN_CONTRAST = 4.0
"""Over white, a picture whose luma (0-255) deviates less from its mean is shown over black, if it
deviates more there. A standard deviation: the dark fringe that lossy compression leaves around a
white logo has the widest range of levels and covers next to nothing."""

_EXTRA_SAMPLES, _SAMPLES_PER_PIXEL, _PHOTOMETRIC = 338, 277, 262
_RGB = (2,)


def may_have_alpha(data: bytes, image_format: str) -> bool:
    """Whether the header announces transparency; whether any pixel has it, pixels tell.

    Args:
        data: an encoded file.
        image_format: one of `DECODABLE`.
    """
    try:
        match image_format:
            case "png":
                return _png_may(data)
            case "webp":
                is_extended, is_lossless = data[12:16] == b"VP8X", data[12:16] == b"VP8L"
                return bool((is_extended and data[20] & 0x10) or (is_lossless and data[24] & 0x10))
            case "tiff":
                return _tiff_may(data)
            case "jpeg2000":
                size = data.find(b"\xff\x4f\xff\x51")
                return int(struct.unpack_from(">H", data, size + 40)[0]) in (2, 4)
            case "bmp":
                return _bmp_may(data)
    except (struct.error, IndexError):
        return False  # cut short, as decoding it shows
    return image_format in ("gif", "avif", "heic")


def _png_may(data: bytes) -> bool:
    if data[25] in (4, 6):
        return True
    offset, name = 8, b""
    while name not in (b"tRNS", b"IDAT", b"IEND"):
        n_bytes, name = struct.unpack_from(">I4s", data, offset)
        offset += 12 + n_bytes
    return name == b"tRNS"


def _tiff_may(data: bytes) -> bool:
    tags = tiff_tags(data, _EXTRA_SAMPLES, _SAMPLES_PER_PIXEL, _PHOTOMETRIC)
    if _EXTRA_SAMPLES in tags:
        return any(tags[_EXTRA_SAMPLES])  # 0: of unknown meaning
    return tags.get(_SAMPLES_PER_PIXEL) == (4,) and tags.get(_PHOTOMETRIC) == _RGB


def _bmp_may(data: bytes) -> bool:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    (bits,) = struct.unpack_from("<H", data, 28)
    return bool(header_bytes >= 56 and bits == 32 and any(data[66:70]))


def without_alpha(image: Image.Image) -> tuple[Image.Image, bool]:
    """The picture that people see, and whether some pixel of it is below opaque.

    Args:
        image: of any mode of 8 bits that Pillow converts to RGB.

    Returns:
        mode RGB, of the same size; the opaque pixels are what they were.
    """
    if not image.has_transparency_data:
        return image.convert("RGB"), False
    if image.mode == "La":  # Pillow knows no shorter way
        image = image.convert("LA")
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    alpha, colours = rgba.getchannel("A"), rgba.convert("RGB")
    del rgba  # each is four bytes a pixel
    if alpha.getextrema()[0] == 255:
        return colours, False
    over_white = _over(colours, alpha, "white")
    contrast = _contrast(over_white)
    if contrast < MIN_CONTRAST:
        over_black = _over(colours, alpha, "black")
        if _contrast(over_black) > contrast:
            return over_black, True
    return over_white, True


def _over(colours: Image.Image, alpha: Image.Image, ground: str) -> Image.Image:
    picture = Image.new("RGB", colours.size, ground)
    picture.paste(colours, mask=alpha)
    return picture


def _contrast(picture: Image.Image) -> float:
    """Standard deviation of luma, 0-255."""
    return float(ImageStat.Stat(picture.convert("L")).stddev[0])
