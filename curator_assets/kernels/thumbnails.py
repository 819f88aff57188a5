"""Small pictures of images, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from PIL import Image

from curator_assets.kernels.decode_with_pillow import PillowError, picture_of

_QUALITY = 70
_MAX_PIXELS = 1 << 28
"""Larger images are not shown: one takes a gigabyte, up to seven where it may be transparent."""


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
    picture.thumbnail((side, side))
    return picture


def _jpeg(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return file.getvalue()
