"""Pictures that tests encode, and the decoder that they are given to."""

import io

import numpy as np
from PIL import Image

from curator_assets.kernels.decode import DecodedBatch, ImageDecoder
from curator_assets.kernels.decode_memory import most_bytes
from curator_assets.kernels.resize import Preprocessing

# 0-255 values come out as they are.
RAW = Preprocessing(64, (0, 0, 0), (1 / 255,) * 3, "bicubic", "squash", 0)


def make_decoder(preprocessing: Preprocessing, device: str = "cpu", **options: int) -> ImageDecoder:
    settings = {"batch_size": 64, "max_pixels": 50_000_000, "n_threads": 2} | options
    settings = {"max_decoding_bytes": most_bytes(settings["max_pixels"])} | settings
    return ImageDecoder(preprocessing, device=device, **settings)


def decode(*images: bytes, max_pixels: int = 1_000_000) -> DecodedBatch:
    return make_decoder(RAW, max_pixels=max_pixels)(images)


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def waves(width: int = 120, height: int = 80) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    channels = [127 + 120 * np.sin(x / 9 + y / 14 + phase) for phase in (0, 2, 4)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))
