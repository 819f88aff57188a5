"""Decoded images to the model's square input: torch's uint8 kernels on CPU.

Legend: *M images, S pixels a side of the model's input*.

It follows open_clip's resize and centre crop, as `resize_with_dali` does on GPU. On CPU torch takes
a fifth of the time that DALI takes, and gives what Pillow gives, but makes the whole resized
picture before the crop; what that would cost too much for (1 x 1,000,000 pixels ask for 150 GB) is
cropped first, by Pillow.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

MAX_RESIZED_PIXELS = 1 << 24
"""A whole image is resized on CPU if what that makes on its way has at most so many pixels.

At S = 224 an image may be 334 times as long as it is wide, and 74,898 pixels high. Others look the
same to a level or two, but not bit for bit, so another number is another version of
`image_embeddings`.
"""

_RESIZED_PIXEL_BYTES = 4


@dataclass(frozen=True)
class Preprocessing:
    """How a model wants its images, in open_clip's terms.

    Attributes:
        size: Side S of the square input, in pixels.
        mean: Per channel RGB, on the 0-1 scale.
        std: Per channel RGB, on the 0-1 scale.
        interpolation: `bicubic` or `bilinear`; both antialiased.
        resize_mode: `shortest` (short side to S, centre crop), `longest` (long side to S, pad) or
            `squash` (both sides to S).
        fill_color: Gray level 0-255 of the padding of `longest`.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    resize_mode: str
    fill_color: int

    def __post_init__(self) -> None:
        if self.interpolation not in ("bicubic", "bilinear"):
            raise ValueError(f"expected 'bicubic' or 'bilinear', got {self.interpolation=}")
        if self.resize_mode not in ("shortest", "longest", "squash"):
            raise ValueError(f"expected 'shortest', 'longest' or 'squash', got {self.resize_mode=}")


class TorchResize:
    """Resizes one image on CPU; safe to call from several threads.

    Args:
        preprocessing: what the model wants.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._preprocessing = preprocessing

    def __call__(self, image: np.ndarray) -> torch.Tensor:
        """The model's input before normalisation.

        Args:
            image: uint8 [height, width, 3].

        Returns:
            uint8 [3, S, S].
        """
        side = self._preprocessing.size
        (height, width), (top, left) = _resized_and_crop(image.shape, self._preprocessing)
        is_long = self._preprocessing.resize_mode == "longest"  # and makes no more than it has
        if not is_long and _n_resized(image.shape, self._preprocessing) > MAX_RESIZED_PIXELS:
            return self._cropped_first(image)
        resized = self._resized(torch.from_numpy(image).permute(2, 0, 1)[None], height, width)[0]
        if height >= side and width >= side:
            return resized[:, top : top + side, left : left + side]
        padded = torch.full((3, side, side), self._preprocessing.fill_color, dtype=torch.uint8)
        padded[:, -top : height - top, -left : width - left] = resized
        return padded

    def n_bytes(self, height: int, width: int) -> int:
        """What resizing an image of this shape takes at most beside the image itself."""
        n_resized = _n_resized((height, width), self._preprocessing)
        if n_resized > MAX_RESIZED_PIXELS:
            n_resized = min(height * width + self._preprocessing.size**2, MAX_RESIZED_PIXELS)
        return _RESIZED_PIXEL_BYTES * 2 * n_resized

    def _cropped_first(self, image: np.ndarray) -> torch.Tensor:
        """As `__call__`, of an image whose resized whole is not to be made.

        `squash` makes more pixels than the image has only where its rows are widened before they
        are brought to S: there it is the other way round.
        """
        side = self._preprocessing.size
        if self._preprocessing.resize_mode != "shortest":
            pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
            low = self._resized(pixels, side, image.shape[1])
            return self._resized(low, side, side)[0]
        filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
        (y_start, x_start), (y_end, x_end), _ = window(image.shape, self._preprocessing).tolist()
        rows = _with_support(y_start, y_end, side, image.shape[0])
        columns = _with_support(x_start, x_end, side, image.shape[1])
        part = Image.fromarray(np.ascontiguousarray(image[rows, columns]))
        y, x = rows.start, columns.start
        box = (x_start - x, y_start - y, x_end - x, y_end - y)
        shown = part.resize((side, side), filters[self._preprocessing.interpolation], box=box)
        return torch.from_numpy(np.array(shown)).permute(2, 0, 1)

    def _resized(self, pixels: torch.Tensor, height: int, width: int) -> torch.Tensor:
        mode = self._preprocessing.interpolation
        return functional.interpolate(
            pixels, size=(height, width), mode=mode, antialias=True, align_corners=False
        )


def _resized_and_crop(
    shape: tuple[int, ...], preprocessing: Preprocessing
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width to resize a whole image to; top and left of the S x S part (or < 0: pad)."""
    height, width = shape[:2]
    side = preprocessing.size
    match preprocessing.resize_mode:
        case "squash":
            return (side, side), (0, 0)
        case "longest":
            ratio = max(height, width) / side
            size = max(1, round(height / ratio)), max(1, round(width / ratio))
            return size, (-((side - size[0]) // 2), -((side - size[1]) // 2))
    short = min(height, width)
    size = side * height // short, side * width // short
    return size, (round((size[0] - side) / 2), round((size[1] - side) / 2))


def window(shape: tuple[int, ...], preprocessing: Preprocessing) -> np.ndarray:
    """Part of an image to resize and to what, so that only the crop is computed.

    Returns:
        float64 [3, 2]: start, end (source pixels, half-open) and size; each vertical, horizontal.
    """
    side = preprocessing.size
    (full_height, full_width), (top, left) = _resized_and_crop(shape, preprocessing)
    top, left = max(top, 0), max(left, 0)
    size = min(side, full_height), min(side, full_width)
    y, x = shape[0] / full_height, shape[1] / full_width
    end = ((top + size[0]) * y, (left + size[1]) * x)
    return np.array([(top * y, left * x), end, size], dtype=np.float64)


def _n_resized(shape: tuple[int, ...], preprocessing: Preprocessing) -> int:
    """The most pixels that resizing a whole image makes: along its rows first, then all of it."""
    (height, width), _ = _resized_and_crop(shape, preprocessing)
    return max(shape[0], height) * width


def _with_support(start: float, end: float, n_out: int, n_in: int) -> slice:
    """The source pixels that a part of them needs to be resized, with all that its filter sees."""
    support = 2 * max(1.0, (end - start) / n_out)  # of bicubic; bilinear's is 1
    return slice(max(0, math.floor(start - support)), min(n_in, math.ceil(end + support)))
