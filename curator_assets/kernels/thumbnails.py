"""Small pictures of images, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from curator_assets.kernels.decode_with_pillow import (
    PillowError,
    exif_orientation,
    picture_of,
)

_QUALITY = 70
_LADDER = [
    *((320, 82), (320, 72), (320, 60), (320, 45), (240, 60), (240, 40), (240, 20), (240, 5)),
    *((160, 20), (120, 20), (80, 20), (40, 20)),
]
"""Longest side and quality: a picture is made coarser rather than smaller than can be judged; what
is smaller still is noise."""

_MAX_PIXELS = 1 << 28
"""Larger images are not shown: one takes a gigabyte, up to seven where it may be transparent."""


@dataclass(frozen=True)
class Thumbnail:
    """A picture small enough for a page.

    Attributes:
        jpeg: the file.
        width: of the file, in pixels.
        height: likewise.
        orientation: EXIF orientation of the image that it was made of, 1 to 8; it has been applied.
    """

    jpeg: bytes
    width: int
    height: int
    orientation: int

    def pixels(self) -> np.ndarray:
        """Uint8 [height, width, 3], decoded anew each time."""
        return np.asarray(Image.open(BytesIO(self.jpeg)).convert("RGB"))


def page_thumbnail(data: bytes, *, max_bytes: int) -> Thumbnail | None:
    """A thumbnail of at most `max_bytes`, at the best quality and size of `_LADDER` that fits.

    Args:
        data: an image file of any format that is embedded.
        max_bytes: of the JPEG file.

    Returns:
        None if it can't be decoded, or no step is that small.
    """
    picture = _open(data, _LADDER[0][0])
    if picture is None:
        return None
    for side, quality in _LADDER:
        picture.thumbnail((side, side))
        jpeg = _jpeg(picture, quality)
        if len(jpeg) <= max_bytes:
            return Thumbnail(jpeg, *picture.size, exif_orientation(data))
    return None


def thumbnail(data: bytes, side: int) -> bytes | None:
    """JPEG bytes of an image within `side` x `side` pixels, upright; None if it can't be decoded.

    Args:
        data: an image file of any format that is embedded.
        side: longest side in pixels; a smaller image keeps its size.
    """
    picture = _open(data, side)
    return _jpeg(picture) if picture else None


def contact_sheet(rows: Sequence[Sequence[bytes | None]], side: int) -> bytes:
    """JPEG bytes of images in rows of equal squares; an empty square where there is no image.

    Args:
        rows: image files; None, and what can't be decoded, leaves its square empty.
        side: of a square, in pixels.

    Raises:
        ValueError: there is no square at all.
    """
    n_columns = max((len(row) for row in rows), default=0)
    if not n_columns:
        raise ValueError("a contact sheet needs at least one image")
    gap = 4
    step = side + gap
    sheet = Image.new("RGB", (n_columns * step + gap, len(rows) * step + gap), (128, 128, 128))
    for y, row in enumerate(rows):
        for x, data in enumerate(row):
            picture = _open(data, side) if data else None
            if picture:
                corner = (x * step + gap, y * step + gap)
                margin = ((side - picture.width) // 2, (side - picture.height) // 2)
                sheet.paste(picture, (corner[0] + margin[0], corner[1] + margin[1]))
    return _jpeg(sheet)


def _open(data: bytes, side: int) -> Image.Image | None:
    try:
        picture, _ = picture_of(data, max_pixels=_MAX_PIXELS, side=side)
    except PillowError:
        return None
    picture.info.clear()  # Pillow would write comments and XMP of the image, of any length
    picture.thumbnail((side, side))
    return picture


def _jpeg(picture: Image.Image, quality: int = _QUALITY) -> bytes:
    file = BytesIO()
    picture.save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()
