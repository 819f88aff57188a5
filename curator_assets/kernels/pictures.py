"""The pictures that a batch of encoded images shows, before and after both devices' decoders."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch

from curator_assets.kernels.device import is_out_of_memory
from curator_assets.kernels.image_format import DecodeError
from curator_assets.kernels.resize import Preprocessing

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pictures:
    """Row by row what N images show; a shape of 0 x 0 where decoding failed.

    Attributes:
        pixels: float32 [N, 3, S, S], normalised; undefined where decoding failed.
        shapes: int32 [N, 2], height and width.
        statistics: float32 [3, N] on CPU, mean luminance 0-1, sharpness and share of constant rows
            at the bottom 0-1; NaN where decoding failed.
        has_alpha: bool [N], some pixel is below opaque.
        again_on_cpu: bool [N], the GPU's decoder gave up on the image and the CPU's did not.
        failures: row -> why decoding failed, where that is not to be told by the file.
    """

    pixels: torch.Tensor
    shapes: np.ndarray
    statistics: np.ndarray
    has_alpha: np.ndarray
    again_on_cpu: np.ndarray
    failures: dict[int, DecodeError]

    @classmethod
    def empty(cls, n: int, side: int, device: torch.device) -> Pictures:
        """Of N images none of which is decoded yet."""
        return cls(
            pixels=torch.empty((n, 3, side, side), device=device),
            shapes=np.zeros((n, 2), dtype=np.int32),
            statistics=np.full((3, n), np.nan, dtype=np.float32),
            has_alpha=np.zeros(n, dtype=bool),
            again_on_cpu=np.zeros(n, dtype=bool),
            failures={},
        )


def why_left_out(error: Exception) -> DecodeError:
    """The reason to give for an image over which something was raised, which the log is told."""
    lacks_memory = is_out_of_memory(error)
    _log.warning("an image is left out: %s", error, exc_info=None if lacks_memory else error)
    return DecodeError.OUT_OF_MEMORY if lacks_memory else DecodeError.CORRUPT


class Normalise:
    """Whole numbers 0-255 to what the model was trained on, in place.

    Args:
        preprocessing: what the model wants.
        device: where the pixels lie.
    """

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        scale = 1 / (255 * torch.tensor(preprocessing.std, dtype=torch.float64))
        shift = -torch.tensor(preprocessing.mean, dtype=torch.float64) * 255 * scale
        self._scale = scale.float().view(3, 1, 1).to(device)
        self._shift = shift.float().view(3, 1, 1).to(device)

    def __call__(self, pixels: torch.Tensor) -> None:
        """Change pixels float32 [M, 3, S, S]."""
        pixels.mul_(self._scale).add_(self._shift)
