"""Copies of an image as they come about in the wild, from encoded bytes to encoded bytes.

Every copy but the JPEG ones is stored without loss, so that it differs from its original by what
its name says and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

from PIL import Image, ImageEnhance, ImageOps

from curator_assets.kernels.decode_with_pillow import PillowError, picture_of


def augmented_copies(data: bytes, *, max_pixels: int) -> dict[str, bytes] | None:
    """One encoded copy a transform, in the order of `TRANSFORMS`; equal bytes for equal images.

    Args:
        data: an encoded image; what is shown of it is what the decoder shows of it.
        max_pixels: of images that are larger there are no copies, as there is no embedding.

    Returns:
        name -> JPEG or BMP bytes; None if Pillow can't open the image, or one of its copies can't
        be made: a JPEG has at most 65,500 pixels a side.
    """
    try:
        image, _ = picture_of(data, max_pixels=max_pixels)
        return {name: transform(image) for name, transform in TRANSFORMS.items()}
    except (PillowError, OSError, ValueError, MemoryError):
        return None


def _encoded(image: Image.Image, image_format: str, **options: int) -> bytes:
    file = BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def _re_encode(quality: int) -> Callable[[Image.Image], bytes]:
    return lambda image: _encoded(image, "JPEG", quality=quality)


def _lossless(change: Callable[[Image.Image], Image.Image]) -> Callable[[Image.Image], bytes]:
    # BMP: a large photograph takes milliseconds, as PNG a second, and it never leaves memory.
    return lambda image: _encoded(change(image), "BMP")


def _resize(scale: float) -> Callable[[Image.Image], bytes]:
    def resized(image: Image.Image) -> Image.Image:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        return image.resize(size, Image.Resampling.LANCZOS)

    return _lossless(resized)


def _crop(fraction: float) -> Callable[[Image.Image], bytes]:
    """Without `fraction` of each side's length, half of it at either end."""

    def cropped(image: Image.Image) -> Image.Image:
        cut_x, cut_y = round(image.width * fraction), round(image.height * fraction)
        left, top = cut_x // 2, cut_y // 2
        return image.crop((left, top, left + image.width - cut_x, top + image.height - cut_y))

    return _lossless(cropped)


TRANSFORMS: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG quality 85": _re_encode(85),
    "JPEG quality 60": _re_encode(60),
    "resize to 75 %": _resize(0.75),
    "resize to 50 %": _resize(0.5),
    "crop by 2 %": _crop(0.02),
    "crop by 5 %": _crop(0.05),
    "crop by 10 %": _crop(0.1),
    "brightness +10 %": _lossless(lambda image: ImageEnhance.Brightness(image).enhance(1.1)),
    "saturation +30 %": _lossless(lambda image: ImageEnhance.Color(image).enhance(1.3)),
    "grayscale": _lossless(ImageOps.grayscale),
    "horizontal flip": _lossless(ImageOps.mirror),
}
"""Each takes an RGB image and gives an encoded copy."""
