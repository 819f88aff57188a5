"""The pictures that the galleries show, small enough for one page.

`MAX_THUMBNAIL_BYTES` times the images that `examples`, `marked_pairs` and `near_threshold` can ask
for, as base64, stays below 7 MB.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from PIL import Image

from curator_assets.kernels.thumbnails import thumbnail
from curator_assets.report.numbers.shown_images import Facts, ShownImage
from curator_assets.report.pictures.data_uri import data_uri
from curator_assets.report.pictures.transform_guess import guess
from curator_assets.storage.shards.pixels import Address, read_images
from curator_assets.storage.shards.source import Source
from curator_assets.storage.store import Store

MAX_THUMBNAIL_BYTES = 24_000
SIDES = (256, 192, 128, 64)
_MAX_TEXT = 120
_CHUNK = 16


@dataclass(frozen=True)
class Picture:
    """An image of a gallery as the page shows it.

    Attributes:
        image_id: its name.
        src: data URI of the thumbnail; None where the image could not be had.
        width: of the thumbnail.
        height: likewise.
        cosine: to the kept image.
        value: of the score that the row is about.
        guess: what was done to it.
        about: its size in pixels and its format; None if nothing is stored of it.
        n_bytes: of its file; None likewise.
        caption: its caption, if it has one.
        short_caption: likewise, short; None where it is the kept image's.
    """

    image_id: str
    src: str | None
    width: int
    height: int
    cosine: float | None
    value: float | None
    guess: str
    about: str | None
    n_bytes: int | None
    caption: str | None
    short_caption: str | None


class GalleryPictures:
    """Thumbnails and captions of some images.

    Args:
        tars: the source.
        store: where it is recorded which image lies where.
        addresses: of the images to show.
        facts: what is stored of them.
        captions: of those that have one.
    """

    def __init__(
        self,
        tars: Source,
        store: Store,
        addresses: Iterable[Address],
        facts: Mapping[Address, Facts],
        captions: Mapping[Address, str],
    ) -> None:
        wanted = sorted(set(addresses))
        self.n_wanted = len(wanted)
        self._facts, self._captions = facts, captions
        self._sources = _thumbnails(tars, store, wanted)

    @property
    def n_missing(self) -> int:
        """How many images could not be had, or not be shown."""
        return self.n_wanted - len(self._sources)

    def picture(self, image: ShownImage, kept: ShownImage | None = None) -> Picture:
        """The picture of an image; `kept` is the image that stands for it."""
        mine = self._facts.get(image.address)
        other = self._facts.get(kept.address) if kept else None
        caption = self._captions.get(image.address)
        is_same = kept is not None and self._captions.get(kept.address) == caption
        src = self._sources.get(image.address)
        width, height = _size(src) if src else (0, 0)
        return Picture(
            image_id=image.image_id,
            src=src,
            width=width,
            height=height,
            cosine=image.cosine,
            value=image.value,
            guess=guess(other, mine) if mine and other else "",
            about=f"{mine['width']} x {mine['height']} {mine['format']}" if mine else None,
            n_bytes=mine["n_bytes"] if mine else None,
            caption=caption,
            short_caption=None if is_same or not caption else _short(caption),
        )


def _size(src: str) -> tuple[int, int]:
    with Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2]))) as picture:
        return picture.size


def _thumbnails(tars: Source, store: Store, wanted: list[Address]) -> dict[Address, str]:
    """Data URIs, a few images in memory at a time."""
    sources = dict[Address, str]()
    for _, mine in groupby(wanted, key=lambda address: address[0]):
        addresses = list(mine)
        for start in range(0, len(addresses), _CHUNK):
            for address, data in read_images(
                tars, store, addresses[start : start + _CHUNK]
            ).items():
                small = small_thumbnail(data)
                if small:
                    sources[address] = data_uri(small, "jpeg")
    return sources


def small_thumbnail(data: bytes) -> bytes | None:
    """A thumbnail of at most `MAX_THUMBNAIL_BYTES`: the larger ones are made smaller."""
    for side in SIDES:
        small = thumbnail(data, side)
        if small is None or len(small) <= MAX_THUMBNAIL_BYTES:
            return small
    return None


def _short(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"
