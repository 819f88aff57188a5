"""Where one picture lies in another, told from pixels.

A `Box` is a part of a picture that another shows. It is found coarsely by normalised correlation,
made exact by least squares (Lucas and Kanade, 1981, with a box in the place of a shift), and held
against the pixels by their gradients, which two photographs of one thing do not share.

Legend: *H x W* the whole picture, *h x w* the one that shows a part of it. Pictures are Pillow's of
mode F, luma 0-255.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

MIN_LIKENESS = 0.9
"""Correlation of gradients from which on two pictures are one."""

MIN_BLOCK_LIKENESS, MAX_UNLIKE_FRACTION = 0.6, 0.05
"""No more than this share of what has texture may be unlike, block by block."""

_COARSE, _FINE = 48, 160  # longest side, pixels
_SIDES = (32, 64, _FINE)
_SCALES = 0.93 ** np.arange(12)
_MIN_TEMPLATE, _MIN_COARSE = 8, 0.7
_N_BLOCKS, _MIN_TEXTURED, _MIN_GRADIENT = 8, 6, 2.0
_N_ROUNDS, _ENOUGH = 12, 0.01  # pixels
_RIM = 2  # pixels
_EDGE = 0.0035  # half a pixel of the finest side


class Box(NamedTuple):
    """A part of a picture, in shares of its width and height."""

    left: float
    top: float
    right: float
    bottom: float


WHOLE = Box(0, 0, 1, 1)


def find_part(whole: Image.Image, part: Image.Image, *, anywhere: bool) -> tuple[Box, float] | None:
    """The part of `whole` that `part` shows, and their likeness there.

    Args:
        whole: mode F, [H, W].
        part: mode F, [h, w], upright as `whole` is.
        anywhere: look for it in all of `whole`; else it may lack no more than its edges.

    Returns:
        None if none of it is surely the same picture.
    """
    for box in _candidates(whole, part, anywhere=anywhere):
        for side in _SIDES:
            box = _refine(whole, part, box, side)
        likeness = _likeness(whole, part, box)
        if likeness >= MIN_LIKENESS:
            return _snapped(box), likeness
    return None


def shown(picture: Image.Image, box: Box, size: tuple[int, int]) -> Image.Image:
    """A part of a picture, `size` pixels wide and high."""
    width, height = picture.size
    pixels = (box.left * width, box.top * height, box.right * width, box.bottom * height)
    return picture.resize(size, Image.Resampling.BICUBIC, box=pixels)


def within(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Width and height that fit into a square, with the shape of `size`; it is not enlarged."""
    scale = min(1, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _candidates(whole: Image.Image, part: Image.Image, *, anywhere: bool) -> Iterator[Box]:
    """Everything, and the best place for a part that is not stretched, where they fit coarsely."""
    size = within(whole.size, _COARSE)
    image = np.asarray(shown(whole, WHOLE, size))
    likeness, _ = _best_place(image, np.asarray(shown(part, WHOLE, size)))
    if likeness >= _MIN_COARSE:
        yield WHOLE
    if not anywhere:
        return
    aspect = part.width / part.height * whole.height / whole.width * size[0] / size[1]
    width = min(size[0], size[1] * aspect)
    best, found = 0.0, WHOLE
    for scale in _SCALES:
        columns, rows = round(width * scale), round(width * scale / aspect)
        if min(columns, rows) < _MIN_TEMPLATE:
            break
        likeness, (y, x) = _best_place(image, np.asarray(shown(part, WHOLE, (columns, rows))))
        if likeness > best:
            best, found = (
                likeness,
                Box(x / size[0], y / size[1], (x + columns) / size[0], (y + rows) / size[1]),
            )
    if best >= _MIN_COARSE and found != WHOLE:
        yield found


def _best_place(image: np.ndarray, template: np.ndarray) -> tuple[float, tuple[int, int]]:
    """Highest normalised correlation of a template, float32 [h, w], and its row and column."""
    windows = np.lib.stride_tricks.sliding_window_view(image, template.shape)
    centred = template - template.mean()
    n, energy = template.size, float((centred * centred).sum())
    products = np.einsum("yxij,ij->yx", windows, centred, optimize=True)
    sums = np.stack([windows.sum(axis=(2, 3)), (windows * windows).sum(axis=(2, 3))])
    variance = np.maximum(sums[1] - sums[0] ** 2 / n, 1e-3 * n)
    likeness = products / np.sqrt(variance * max(energy, 1e-3 * n))
    y, x = np.unravel_index(likeness.argmax(), likeness.shape)
    return float(likeness[y, x]), (int(y), int(x))


def _refine(whole: Image.Image, part: Image.Image, box: Box, side: int) -> Box:
    """The box near `box` in which the two differ least, but for gain and offset."""
    size = within(part.size, side)
    wanted = np.asarray(shown(part, WHOLE, size), np.float64)
    columns = (np.arange(size[0]) + 0.5) / size[0]
    rows = ((np.arange(size[1]) + 0.5) / size[1])[:, None]
    for _ in range(_N_ROUNDS):
        image = np.asarray(shown(whole, box, size), np.float64)
        if min(image.shape) < 3:
            return box
        dy, dx = np.gradient(image)
        moves = [dx * (1 - columns), dy * (1 - rows), dx * columns, dy * rows]
        terms = np.stack([*moves, image, np.ones_like(image)]).reshape(6, -1)
        solved, *_ = np.linalg.lstsq(terms @ terms.T, terms @ wanted.ravel(), rcond=None)
        gain = solved[4]
        if not gain > 0.1:  # it does not lie here, or is a negative
            return box
        pixels = np.clip(solved[:4] / gain, -3, 3)
        step = pixels / (size * 2) * np.array([box.right - box.left, box.bottom - box.top] * 2)
        box = _clipped(box, step)
        if np.abs(pixels).max() < _ENOUGH:
            break
    return box


def _clipped(box: Box, step: np.ndarray) -> Box:
    low = np.clip(np.array(box[:2]) + step[:2], 0, 0.9)
    high = np.clip(np.array(box[2:]) + step[2:], low + 0.1, 1)
    return Box(*map(float, (*low, *high)))


def _snapped(box: Box) -> Box:
    """With the edges that lie as near to the whole's as can be told put there."""
    low = (0.0 if edge < _EDGE else edge for edge in box[:2])
    high = (1.0 if edge > 1 - _EDGE else edge for edge in box[2:])
    return Box(*low, *high)


def _likeness(whole: Image.Image, part: Image.Image, box: Box) -> float:
    """Correlation of gradients, -1 to 1; 0 if too little has texture, or too much is unlike."""
    size = within(part.size, _FINE)
    if min(size) < 2 * (_N_BLOCKS + _RIM):
        return 0.0
    one = _gradients(shown(whole, box, size))
    other = _gradients(shown(part, WHOLE, size))
    products, ones, others = (
        _by_block((a * b).sum(axis=0)) for a, b in ((one, other), (one, one), (other, other))
    )
    textured = np.maximum(ones, others) > _MIN_GRADIENT**2
    if textured.sum() < _MIN_TEXTURED:
        return 0.0
    likeness = products / np.sqrt(np.maximum(ones * others, 1e-9))
    if (likeness[textured] < MIN_BLOCK_LIKENESS).mean() > MAX_UNLIKE_FRACTION:
        return 0.0
    return float(products.sum() / np.sqrt(ones.sum() * others.sum()))


def _gradients(picture: Image.Image) -> np.ndarray:
    """Float64 [2, h, w], downwards and to the right, without the rim, where a box is blended."""
    down, right = np.gradient(np.asarray(picture, np.float64))
    return np.stack([down, right])[:, _RIM:-_RIM, _RIM:-_RIM]


def _by_block(values: np.ndarray) -> np.ndarray:
    """Means of [h, w] over a grid of blocks."""
    height, width = (side // _N_BLOCKS for side in values.shape)
    cut = values[: height * _N_BLOCKS, : width * _N_BLOCKS]
    blocks: np.ndarray = cut.reshape(_N_BLOCKS, height, _N_BLOCKS, width).mean(axis=(1, 3))
    return blocks
