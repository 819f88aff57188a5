"""Images that Pillow opens: what nvImageCodec doesn't read, and what may be transparent.

`picture_of` is also how pictures are made for people to look at and to calibrate with, so that all
show what is embedded.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import AvifImagePlugin, Image, ImageOps
from pillow_heif import register_heif_opener

from curator_assets.kernels.image_format import sniff_format
from curator_assets.kernels.transparency import without_alpha

# These hold for the whole process, so they are set once, never toggled. Each file's size is
# compared with a limit of the caller's before it is loaded, so that Pillow's own neither warns nor
# decides. A file is decoded in one thread, as many files at a time as there are threads.
Image.MAX_IMAGE_PIXELS = None
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)

_PLUGINS = {
    "jpeg": ("JPEG", "MPO"),
    "png": ("PNG",),
    "webp": ("WEBP",),
    "bmp": ("BMP",),
    "tiff": ("TIFF",),
    "jpeg2000": ("JPEG2000",),
    "gif": ("GIF",),
    "avif": ("AVIF",),
    "heic": ("HEIF",),
}


_ORIENTATION = 0x0112


class PillowError(Exception):
    """Pillow can't open or read a file; the message says why."""


class TooManyPixelsError(PillowError):
    """A file's header announces more pixels than are wanted."""


@dataclass(frozen=True)
class PillowStream:
    """An image for Pillow to decode, in the place of an nvImageCodec stream.

    Attributes:
        data: the encoded file.
        width: as its header says.
        height: likewise.
        opaque: the nvImageCodec stream that is decoded instead if every pixel is opaque, or Pillow
            can't read it; None if only Pillow knows the file.
    """

    data: bytes
    width: int
    height: int
    opaque: Any

    def decode(self) -> tuple[np.ndarray, bool] | None:
        """Upright uint8 [height, width, 3] and whether it has transparency.

        Returns:
            None if it can't be read, or if it is opaque and nvImageCodec can decode it.

        Raises:
            MemoryError: there is not enough.
        """
        try:
            picture, has_alpha = picture_of(self.data, max_pixels=self.width * self.height)
        except PillowError as error:
            if isinstance(error.__cause__, MemoryError):
                raise error.__cause__ from None
            return None
        if self.opaque is not None and not has_alpha:
            return None
        return np.array(picture), has_alpha  # a copy, as torch wants to be able to write to it


def open_stream(data: bytes, *, max_pixels: int) -> PillowStream:
    """What only Pillow is to decode, by its header alone.

    Args:
        data: an encoded image, of one of `DECODABLE`.
        max_pixels: images whose header announces more are refused.

    Raises:
        PillowError: the header can't be read.
        TooManyPixelsError: it has too many pixels.
    """
    with _opened(data, max_pixels) as image:
        return PillowStream(data, *image.size, opaque=None)


def picture_of(
    data: bytes, *, max_pixels: int, side: int | None = None
) -> tuple[Image.Image, bool]:
    """The picture that people see, and whether some pixel of it is below opaque.

    EXIF orientation is applied, transparency composited (see `without_alpha`), and of several
    frames the first taken.

    Args:
        data: an encoded image of any of `DECODABLE`.
        max_pixels: images whose header announces more are not decoded.
        side: in pixels; a JPEG may come out smaller, but no smaller than this.

    Returns:
        mode RGB.

    Raises:
        PillowError: it can't be read.
        TooManyPixelsError: it has too many pixels.
    """
    with _opened(data, max_pixels) as image:
        try:
            if side is not None:
                image.draft("RGB", (side, side))
            _load(image)
            _turn_upright(image)
            return without_alpha(_in_eight_bits(image))
        except Exception as error:  # whatever a plugin meets in damaged bytes is said of the image
            raise PillowError(f"{type(error).__name__}: {error}") from error


def exif_orientation(data: bytes) -> int:
    """How a viewer turns the image, 1 (not at all) to 8; 1 where nothing is said, or all damaged.

    Args:
        data: an encoded image. Of a HEIC file it is 1, since its decoder turns it.
    """
    try:
        with _opened(data, sys.maxsize) as image:
            said = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # as of a picture: whatever a plugin meets in damaged bytes
        return 1
    return said if said in range(1, 9) else 1


def _opened(data: bytes, max_pixels: int) -> Image.Image:
    image_format = sniff_format(data)
    if image_format not in _PLUGINS:
        raise PillowError(f"expected one of {', '.join(_PLUGINS)}, got {image_format}")
    try:
        image = Image.open(BytesIO(data), formats=_PLUGINS[image_format])
    except MemoryError:
        raise
    except Exception as error:  # as above
        raise PillowError(f"{type(error).__name__}: {error}") from error
    if image.width * image.height > max_pixels:
        raise TooManyPixelsError(f"{image.width} x {image.height} pixels, at most {max_pixels}")
    return image


def _load(image: Image.Image) -> None:
    """Decode, with the colour that stands for transparent on the scale of the pixels."""
    if getattr(image, "default_image", False):
        image.seek(1)  # of an animated PNG: browsers and nvImageCodec show no picture outside of it
    tiles = getattr(image, "tile", [])
    rawmode = str(tiles[0].args) if image.format == "PNG" and tiles else ""
    image.load()
    transparent = image.info.get("transparency")
    if transparent is not None and rawmode in ("L;2", "L;4"):
        image.info["transparency"] = transparent * 255 // (2 ** int(rawmode[2:]) - 1)
    elif transparent is not None and rawmode == "RGB;16B":
        image.info["transparency"] = tuple(channel >> 8 for channel in transparent)


def _turn_upright(image: Image.Image) -> None:
    """Apply EXIF orientation; a HEIC file's own has been applied by its decoder."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:
        return  # of damaged EXIF, which nvImageCodec passes over too


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """The same picture with 8 bits a channel.

    Raises:
        ValueError: the pixels have no known range (32-bit integers, floats).
    """
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode!r} have no known range")
    if not image.mode.startswith("I;16"):
        return image
    deep = np.asarray(image)  # Pillow would clip where nvImageCodec scales
    gray = Image.fromarray((deep >> 8).astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is not None:
        gray.putalpha(Image.fromarray(np.where(deep == transparent, 0, 255).astype(np.uint8)))
    return gray
