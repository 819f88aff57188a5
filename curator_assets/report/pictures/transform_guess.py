"""What was done to a copy, in words: only what its pixels, its size and its file show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from curator_assets.kernels.alignment import WHOLE, Box
from curator_assets.kernels.thumbnails import Thumbnail
from curator_assets.kernels.transforms import Tones, Transform, find_transform
from curator_assets.report.numbers.shown_images import Facts

MAX_ASPECT_CHANGE = 0.02
_MAX_SCALE_CHANGE = 0.02  # told from how large a part is
_MAX_CROPPED = 0.995  # a part that is larger may as well be all
_SURELY_SAME, _SURELY_ALTERED = 12.0, 30.0  # levels of 0-255


@dataclass(frozen=True)
class Seen:
    """An image that was read: what is stored of it, and what it looks like."""

    facts: Facts
    thumbnail: Thumbnail


def guess(kept: Seen, removed: Seen) -> str:
    """How the removed image differs from the kept one, in a few words; empty if that is unsure."""
    if kept.facts["content_hash"] == removed.facts["content_hash"]:
        return "identical bytes"
    transform = find_transform(kept.thumbnail.pixels(), removed.thumbnail.pixels())
    return ", ".join(_words(kept, removed, transform)) if transform else ""


def other_aspect(kept: Facts, removed: Facts) -> bool:
    """Whether the two differ in width / height by more than `MAX_ASPECT_CHANGE`."""
    one, other = kept["width"] * removed["height"], removed["width"] * kept["height"]
    return bool(abs(one - other) > MAX_ASPECT_CHANGE * max(one, other))


def _words(kept: Seen, removed: Seen, transform: Transform) -> Iterator[str]:
    said = [
        *_orientation(kept, removed, transform),
        *_extent(transform),
        *_size(kept.facts, removed.facts, transform),
        *([_TONES[transform.tones]] if transform.tones in _TONES else []),
    ]
    if not transform.tones and transform.largest_difference > _SURELY_ALTERED:
        said.append("altered in places")
    yield from said
    if kept.facts["format"] != removed.facts["format"]:
        yield f"other format: {removed.facts['format']}"
    elif not said and _is_re_encoded(kept, removed, transform):
        yield "re-encoded"


_TONES: dict[Tones, str] = {
    "brighter": "brighter",
    "darker": "darker",
    "grey": "grey",
    "coloured": "coloured",
    "other": "other tones",
}


def _orientation(kept: Seen, removed: Seen, transform: Transform) -> Iterator[str]:
    if transform.is_mirrored and transform.turned == 180:
        yield "mirrored top to bottom"
        return
    if transform.is_mirrored:
        yield "mirrored"
    if transform.turned:
        yield {90: "turned 90° clockwise", 180: "turned 180°", 270: "turned 90° counterclockwise"}[
            transform.turned
        ]
    before, after = kept.thumbnail.orientation, removed.thumbnail.orientation
    if transform.turned or transform.is_mirrored or before == after:
        return
    if after == 1:
        yield "stored upright"
    else:
        how = "mirrored" if after in (2, 4) else "turned"
        yield f"stored {how}, EXIF sets it upright"


def _extent(transform: Transform) -> Iterator[str]:
    if _area(transform.box) < _MAX_CROPPED:
        share = f"{_area(transform.box):.0%}".replace("%", "\N{NO-BREAK SPACE}%")
        yield f"cropped to {share} of its area"
    elif _area(transform.outer) < _MAX_CROPPED and transform.has_border:
        yield "with a border"
    elif _area(transform.outer) < _MAX_CROPPED:
        share = f"{_area(transform.outer):.0%}".replace("%", "\N{NO-BREAK SPACE}%")
        yield f"shows more: the kept image is {share} of it"


def _size(kept: Facts, removed: Facts, transform: Transform) -> Iterator[str]:
    """Smaller, larger or stretched, by how many pixels show what both show."""
    sides = [kept["width"], kept["height"]]
    if transform.turned in (90, 270):
        sides.reverse()
    ours, inner = transform.box, transform.outer
    across = removed["width"] * (inner.right - inner.left) / (sides[0] * (ours.right - ours.left))
    down = removed["height"] * (inner.bottom - inner.top) / (sides[1] * (ours.bottom - ours.top))
    is_whole = ours == WHOLE == inner
    sizes = f": {removed['width']} x {removed['height']} of {kept['width']} x {kept['height']}"
    sizes = sizes if is_whole else ""
    least = 2 / min(sides) if is_whole else 0.0  # a side is rounded to whole pixels
    if abs(across / down - 1) > MAX_ASPECT_CHANGE + least:
        yield f"stretched{sizes}"
    elif max(across, down) < 1 - _MAX_SCALE_CHANGE:
        yield f"smaller{sizes}" if is_whole else "scaled down"
    elif min(across, down) > 1 + _MAX_SCALE_CHANGE:
        yield f"larger{sizes}" if is_whole else "scaled up"


def _is_re_encoded(kept: Seen, removed: Seen, transform: Transform) -> bool:
    """Whether the pixels of both stand for the same, and are not just the same."""
    same_size = all(kept.facts[side] == removed.facts[side] for side in ("width", "height"))
    is_surely_whole = transform.box == WHOLE == transform.outer and not transform.is_plain
    is_same_picture = not transform.tones and transform.largest_difference <= _SURELY_SAME
    differ = kept.thumbnail.jpeg != removed.thumbnail.jpeg
    return same_size and is_surely_whole and is_same_picture and differ


def _area(box: Box) -> float:
    return (box.right - box.left) * (box.bottom - box.top)
