"""Images of every kind that the benchmarks decode, by Pillow or, where it can't, by hand."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tifffile
from PIL import Image

Maker = Callable[[Image.Image], bytes]


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Coloured waves with some noise, no two seeds alike."""
    rng = np.random.default_rng(seed)
    y, x = np.arange(min(height, 256))[:, None, None], np.arange(min(width, 256))[None, :, None]
    waves = np.sin(x / rng.uniform(4, 20, 3) + y / rng.uniform(4, 20, 3) + rng.uniform(0, 6, 3))
    noise = rng.uniform(-15, 15, waves.shape)
    tile = Image.fromarray((127 + 100 * waves + noise).astype(np.uint8))
    if tile.size == (width, height):
        return tile
    image = Image.new("RGB", (width, height))
    for corner in ((0, 0), (max(0, width - 256), max(0, height - 256))):
        image.paste(tile, corner)
    return image


def by_pillow(file_format: str, mode: str = "RGB", **options: object) -> Maker:
    """An encoder of Pillow's."""

    def make(image: Image.Image) -> bytes:
        file = io.BytesIO()
        image.convert(mode).save(file, file_format, **options)
        return file.getvalue()

    return make


def black_png(
    image: Image.Image, *, bits: int, channels: int, interlaced: bool = False, frames: int = 1
) -> bytes:
    """A PNG of the image's size that Pillow does not write: interlaced, 16 bits, animated."""
    width, height = image.size
    packer = zlib.compressobj(1)
    step = ((0, 0, 1, 1),) if not interlaced else _ADAM7
    packed = list[bytes]()
    for x, y, across, down in step:
        columns, rows = -(-(width - x) // across), -(-(height - y) // down)
        if columns > 0 and rows > 0:
            n_bytes = rows * (1 + columns * channels * bits // 8)
            for at in range(0, n_bytes, 1 << 24):
                packed.append(packer.compress(bytes(min(1 << 24, n_bytes - at))))
    data = b"".join([*packed, packer.flush()])
    colour = {1: 0, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    chunks = [_chunk(b"IHDR", header)]
    if frames == 1:
        chunks.append(_chunk(b"IDAT", data))
    else:
        chunks.append(_chunk(b"acTL", struct.pack(">II", frames, 0)))
        for frame in range(frames):
            order = 2 * frame - 1 if frame else 0
            whole = struct.pack(">IIIIIHHBB", order, width, height, 0, 0, 1, 10, 0, 0)
            chunks.append(_chunk(b"fcTL", whole))
            numbered = struct.pack(">I", order + 1) + data
            chunks.append(_chunk(b"fdAT", numbered) if frame else _chunk(b"IDAT", data))
    return b"\x89PNG\r\n\x1a\n" + b"".join([*chunks, _chunk(b"IEND", b"")])


_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def tiff(image: Image.Image, dtype: str = "uint8", **options: Any) -> bytes:
    """A TIFF of the image's size, its sample type, tiles and compression as asked for."""
    file = io.BytesIO()
    pixels = np.asarray(image).astype(dtype)
    tifffile.imwrite(file, pixels, photometric="rgb", **options)
    return file.getvalue()


KINDS: dict[str, Maker] = {
    "JPEG": by_pillow("JPEG", quality=85),
    "JPEG, progressive, 4:4:4": by_pillow("JPEG", progressive=True, subsampling=0),
    "JPEG, progressive, CMYK": by_pillow("JPEG", "CMYK", progressive=True),
    "PNG": by_pillow("PNG", compress_level=1),
    "PNG, palette": by_pillow("PNG", "P", compress_level=1),
    "PNG, interlaced": partial(black_png, bits=8, channels=3, interlaced=True),
    "PNG, 16 bits": partial(black_png, bits=16, channels=3),
    "PNG, 16 bits, RGBA, animated": partial(black_png, bits=16, channels=4, frames=2),
    "WebP": by_pillow("WEBP", method=0),
    "WebP, lossless": by_pillow("WEBP", lossless=True, method=0, quality=0),
    "BMP": by_pillow("BMP"),
    "TIFF": tiff,
    "TIFF, LZW": by_pillow("TIFF", compression="tiff_lzw"),
    "TIFF, tiles, 16 bits": partial(tiff, dtype="uint16", tile=(256, 256), compression="zlib"),
    "JPEG 2000, lossless": by_pillow("JPEG2000"),
    "JPEG 2000, tiles, RGBA": by_pillow("JPEG2000", "RGBA", tile_size=(1024, 1024)),
    "GIF": by_pillow("GIF", "P"),
    "AVIF": by_pillow("AVIF", speed=10),
}
"""Name -> encoder; those of `black_png` show nothing."""
