"""How much of an image's bottom shows nothing: below the place where a file was cut, one colour.

Legend: *M images, R rows and C pixels of each that are looked at*.

A decoder fills what is missing of a JPEG file with one colour, so its rows are constant to the bit;
those of a photograph are not. R rows and C pixels of each are taken evenly from the whole image.
"""

from __future__ import annotations

import numpy as np
import torch

N_ROWS, N_COLUMNS = 256, 64
"""R and C; an image with fewer repeats some."""


def constant_rows_fraction(image: np.ndarray) -> float:
    """Share of rows at the bottom each of which has one colour, 0-1.

    Args:
        image: uint8 [height, width, 3], upright.
    """
    rows, columns = (_centres(*of) for of in zip(image.shape[:2], (N_ROWS, N_COLUMNS), strict=True))
    last = image[rows[-1], columns]
    if (last != last[0]).any():
        return 0.0  # nearly all images
    sampled = torch.from_numpy(image[rows[:, None], columns])
    return float(constant_rows_fractions(sampled[None])[0])


def constant_rows_fractions(sampled: torch.Tensor) -> torch.Tensor:
    """The same of many images, float32 [M] on their device.

    Args:
        sampled: uint8 [M, R, C, 3], each image resized to R x C by nearest neighbour.
    """
    constant = (sampled == sampled[:, :, :1]).flatten(2).all(dim=2)
    return constant.flip(1).cumprod(dim=1).sum(dim=1).float() / N_ROWS


def _centres(length: int, n: int) -> np.ndarray:
    """Where n evenly spaced pixels of so many lie, int64 [n]."""
    return (2 * np.arange(n) + 1) * length // (2 * n)
