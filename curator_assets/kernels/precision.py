"""Which arithmetic the encoder may use: the fastest of the device that moves no embedding much.

The choice is by what the device can do and by what it does to the first images, not by a clock, so
that the same images on the same machine give the same choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from curator_assets.kernels.encode import EncoderModel

MIN_COSINE = 0.999
"""To the float32 embedding, of each image."""

N_IMAGES = 32


@dataclass(frozen=True)
class PrecisionChoice:
    """What was chosen, and on what grounds.

    Attributes:
        precision: `float32`, `bfloat16` or `float16`.
        lowest_cosine: candidate -> lowest cosine to the float32 embedding of the same image.
        n_images: how many images it was measured on.
    """

    precision: str
    lowest_cosine: dict[str, float]
    n_images: int


def candidates(device: torch.device) -> list[str]:
    """Types in which this device multiplies matrices faster than in float32, fastest first."""
    if device.type == "cuda":
        ampere = torch.cuda.get_device_capability(device) >= (8, 0)
        return ["bfloat16", "float16"] if ampere else ["float16"]
    by_support = {
        "bfloat16": torch.ops.mkldnn._is_mkldnn_bf16_supported()
        and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()),
        "float16": torch.ops.mkldnn._is_mkldnn_fp16_supported(),
    }
    return [name for name, supported in by_support.items() if supported]


def choose_precision(model: EncoderModel, pixels: torch.Tensor) -> PrecisionChoice:
    """The first candidate whose embeddings of some images all stay within `MIN_COSINE`.

    Args:
        model: in float32.
        pixels: float32 [N, 3, S, S], normalised; the first `N_IMAGES` are used.
    """
    pixels = pixels[:N_IMAGES]
    reference, lowest = model.encode(pixels), dict[str, float]()
    for candidate in candidates(model.device) if len(pixels) else ():
        embeddings = model.to_precision(candidate).encode(pixels)
        lowest[candidate] = float((reference * embeddings).sum(axis=1).min())
        if lowest[candidate] >= MIN_COSINE:
            return PrecisionChoice(candidate, lowest, len(pixels))
    return PrecisionChoice("float32", lowest, len(pixels))
