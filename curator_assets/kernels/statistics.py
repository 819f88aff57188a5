"""What is measured on the picture that the model is shown.

Legend: *M images, S pixels a side*.
"""

from __future__ import annotations

import torch

_LUMA = (299.0, 587.0, 114.0)  # Rec.601, in thousandths: luma of whole numbers is a whole number


def measure(pixels: torch.Tensor) -> torch.Tensor:
    """Mean luminance 0-1 and sharpness of each image, float32 [2, M] on the images' device.

    Sharpness is the variance of the 4-neighbour Laplacian of luma on the 0-255 scale. Sums are of
    whole numbers and exact in any order, so an image's figures depend neither on its batch nor on
    the device.

    Args:
        pixels: float32 [M, 3, S, S], whole numbers 0-255; S from 3 to 2,000, beyond which a row's
            squares may exceed what float64 counts exactly.
    """
    red, green, blue = _LUMA
    luma = pixels[:, 0] * red
    luma.add_(pixels[:, 1], alpha=green).add_(pixels[:, 2], alpha=blue)
    mean = luma.mean(dim=(1, 2), dtype=torch.float64) / 255_000
    laplacian = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1]
    laplacian.add_(luma[:, 1:-1, :-2]).add_(luma[:, 1:-1, 2:])
    laplacian.sub_(luma[:, 1:-1, 1:-1], alpha=4)
    centre = laplacian.mean(dim=(1, 2), dtype=torch.float64)
    squares = laplacian.double().square_().sum(dim=2).long().sum(dim=1)
    variance = (squares.double() / laplacian[0].numel() - centre.square()) / 1e6
    return torch.stack([mean, variance.clamp_min_(0)]).float()
