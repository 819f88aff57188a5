"""What was done to a picture that another one was made of, told from the pixels of both.

Said is what was measured; of two pictures that are not surely one, nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from curator_assets.kernels.alignment import WHOLE, Box, find_part, shown, within

Tones = Literal["", "brighter", "darker", "grey", "coloured", "other", "unsure"]

_MIN_GAIN, _MAX_RESIDUAL = 0.02, 3.0
_NO_CHROMA, _MAX_SATURATION, _MAX_SATURATION_LEVELS = 5.0, 0.1, 0.6
_MIN_TONES, _MAX_CONTRAST, _RIM = 60, 2.0, 3
_LUMA = np.array([0.299, 0.587, 0.114])
_PLAIN, _ALIKE, _ALIKE_AT_MOST = 2.0, 2.0, 8.0
_TONES_SIDE, _PLAIN_SIDE, _MIN_PLAIN_SIDE = 32, 16, 8
# levels of 0-255, and sides in pixels


@dataclass(frozen=True)
class Transform:
    """How the second picture differs from the first.

    Attributes:
        turned: clockwise, in degrees: 0, 90, 180 or 270.
        is_mirrored: left to right, before it was turned.
        box: the part of the first that is in the second.
        outer: the part of the second that the first fills; this or `box` is `WHOLE`.
        has_border: what lies around `outer` is of one colour.
        tones: what became of them; empty if nothing.
        largest_difference: of a 32nd part of a side, in levels of 0-255, beside what the other
            attributes say; 0 where a part is cut off or the colours are others.
        is_plain: there is too little in them to tell more than that they may be the same.
    """

    turned: int = 0
    is_mirrored: bool = False
    box: Box = WHOLE
    outer: Box = WHOLE
    has_border: bool = False
    tones: Tones = ""
    largest_difference: float = 0.0
    is_plain: bool = False


def find_transform(first: np.ndarray, second: np.ndarray) -> Transform | None:
    """How the second picture was made of the first; None if it surely was not, or who knows.

    Args:
        first: uint8 [H, W, 3].
        second: uint8 [h, w, 3].
    """
    one, other = Image.fromarray(first), Image.fromarray(second)
    luma, other_luma = _luma(one), _luma(other)
    for turned, is_mirrored in _ORIENTATIONS:
        moved = _oriented(luma, turned, is_mirrored)
        place = _place(moved, other_luma, anywhere=not (turned or is_mirrored))
        if place:
            box, outer = place
            tones, largest = _tones(_oriented(one, turned, is_mirrored), other, box, outer)
            return Transform(
                turned=turned,
                is_mirrored=is_mirrored,
                box=box,
                outer=outer,
                has_border=outer != WHOLE and _is_border(other_luma, outer),
                tones=tones,
                largest_difference=largest if box == outer else 0.0,
            )
    return Transform(is_plain=True) if _both_plain(one, other) else None


_ORIENTATIONS = [(turned, mirrored) for mirrored in (False, True) for turned in (0, 90, 180, 270)]


def _luma(picture: Image.Image) -> Image.Image:
    return picture.convert("L").convert("F")


def _oriented(picture: Image.Image, turned: int, is_mirrored: bool) -> Image.Image:
    if is_mirrored:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return picture.transpose(_TURNS[turned]) if turned else picture


_TURNS = {  # Pillow counts the other way round
    90: Image.Transpose.ROTATE_270,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}


def _place(first: Image.Image, second: Image.Image, *, anywhere: bool) -> tuple[Box, Box] | None:
    """The part of the first in the second, and the part of the second that the first fills."""
    inside = find_part(first, second, anywhere=anywhere)
    around = find_part(second, first, anywhere=anywhere)
    if inside and (not around or inside[1] >= around[1]):
        return inside[0], WHOLE
    return (WHOLE, around[0]) if around else None


def _is_border(picture: Image.Image, inner: Box) -> bool:
    """Whether what lies around `inner` is of one colour."""
    pixels = np.asarray(picture)
    height, width = pixels.shape
    left, right = round(inner.left * width) - _RIM, round(inner.right * width) + _RIM
    top, bottom = round(inner.top * height) - _RIM, round(inner.bottom * height) + _RIM
    outside = np.ones(pixels.shape, bool)
    outside[max(top, 0) : bottom, max(left, 0) : right] = False
    if not outside.any():
        return False
    around = pixels[outside]
    return bool(np.quantile(np.abs(around - np.median(around)), 0.95) < _ALIKE_AT_MOST)


def _tones(first: Image.Image, second: Image.Image, box: Box, outer: Box) -> tuple[Tones, float]:
    """What became of the tones where both show the same, and the largest difference beside that."""
    size = within(second.size if outer == WHOLE else first.size, _TONES_SIDE)
    one = np.asarray(shown(first, box, size), np.float64)
    other = np.asarray(shown(second, outer, size), np.float64)
    luma, other_luma = (colours @ _LUMA for colours in (one, other))
    chroma, other_chroma = one - luma[:, :, None], other - other_luma[:, :, None]
    gain = _gain(luma, other_luma)
    before, after = (float(np.quantile(np.abs(c), 0.99)) for c in (chroma, other_chroma))
    was_grey, is_grey = before < _NO_CHROMA, after < _NO_CHROMA
    if is_grey != was_grey and abs(before - after) > _NO_CHROMA:
        return ("grey" if is_grey else "coloured"), 0.0
    left = np.abs(np.minimum(one * gain, 255) - other)
    more, levels = (0.0, 0.0) if was_grey else _saturation(chroma, other_chroma, other, gain)
    contrast = _contrast(luma, other_luma)
    is_more = more > _MAX_SATURATION
    is_other = np.median(left.mean(axis=2)) > _MAX_RESIDUAL
    if is_other or abs(contrast) > _MAX_CONTRAST or (is_more and levels > _MAX_SATURATION_LEVELS):
        is_clipped = contrast < -_MAX_CONTRAST and gain > 1  # as white is, of what was brightened
        return ("unsure" if is_clipped else "other"), 0.0
    if is_more:  # of colours so faint that their loss in a JPEG looks the same
        return "unsure", 0.0
    largest = float(left.max())
    if abs(gain - 1) < _MIN_GAIN:
        return "", largest
    return ("brighter" if gain > 1 else "darker"), largest


def _saturation(
    chroma: np.ndarray, other_chroma: np.ndarray, other: np.ndarray, gain: float
) -> tuple[float, float]:
    """By how much colours are stronger or weaker than `gain` makes them: as a share, in levels."""
    inside = (other.min(axis=2) > 8) & (other.max(axis=2) < 240)
    if not inside.any():
        return 0.0, 0.0
    known, wanted = chroma[inside], other_chroma[inside]
    change = abs(float((known * wanted).sum() / max((known * known).sum(), 1e-9)) - gain)
    return change, change * float(np.abs(known).mean())


def _gain(luma: np.ndarray, other: np.ndarray) -> float:
    """By what the first is multiplied, told from what is neither dark nor white."""
    middle = _in_middle(luma, other)
    return float(np.median(other[middle] / luma[middle])) if middle.any() else 1.0


def _contrast(luma: np.ndarray, other: np.ndarray) -> float:
    """By how many levels more light is multiplied than dark; a few altered places do not count."""
    middle = _in_middle(luma, other)
    if middle.sum() < _MIN_TONES:
        return 0.0
    known, wanted = luma[middle], other[middle]
    order = np.argsort(known)
    third = len(order) // 3
    dark, light = order[:third], order[-third:]
    gains = [float(np.median(wanted[part] / known[part])) for part in (dark, light)]
    return (gains[1] - gains[0]) * float(np.median(known[dark]))


def _in_middle(luma: np.ndarray, other: np.ndarray) -> np.ndarray:
    inside: np.ndarray = (luma > 16) & (luma < 235) & (other > 8) & (other < 235)
    return inside


def _both_plain(first: Image.Image, second: Image.Image) -> bool:
    """Whether both are nearly the same picture, of which there is little to see."""
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    size = within(min(first.size, second.size), _PLAIN_SIDE)
    if min(size) < _MIN_PLAIN_SIDE and max(x.std(axis=(0, 1)).max() for x in (one, other)) > _PLAIN:
        return False
    difference = np.abs(
        np.asarray(shown(first, WHOLE, size), np.float64)
        - np.asarray(shown(second, WHOLE, size), np.float64)
    )
    return bool(difference.mean() < _ALIKE and difference.max() < _ALIKE_AT_MOST)
