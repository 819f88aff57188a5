"""The pictures that the galleries show, small enough for one page.

`MAX_THUMBNAIL_BYTES` times the pictures that `examples` and `near_threshold` can ask for, as
base64, and their captions, six bytes a character at most, stay below 14.5 MB.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from curator_assets.kernels.thumbnails import Thumbnail, page_thumbnail
from curator_assets.report.numbers.shown_images import Facts, ShownImage
from curator_assets.report.pictures.captions import short_caption, whole_caption
from curator_assets.report.pictures.data_uri import data_uri
from curator_assets.report.pictures.examples import Pair
from curator_assets.report.pictures.transform_guess import Seen, guess
from curator_assets.storage.shards.pixels import Address, read_images
from curator_assets.storage.shards.source import Source
from curator_assets.storage.store import Store

MAX_THUMBNAIL_BYTES = 16_000
_CHUNK = 16


@dataclass(frozen=True)
class Picture:
    """An image of a gallery as the page shows it.

    Attributes:
        image_id: its name.
        src: data URI of the thumbnail; None where the image could not be had.
        width: of the thumbnail, in pixels; 0 without one.
        height: likewise.
        cosine: to the kept image of the row; None for that one.
        value: of the score that the row is about.
        guess: what was done to the kept image to make it; empty if that is unsure.
        about: its size in pixels and its format; None if nothing is stored of it.
        n_bytes: of its file; None likewise.
        caption: all of it, but for captions of great length, which say that they are cut.
        short_caption: its beginning; None if it is the kept image's, or there is none.
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
        addresses: of the images that may be shown.
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
        self._facts, self._captions = facts, captions
        self._thumbnails = _thumbnails(tars, store, sorted(set(addresses)))

    def guess(self, pair: Pair) -> str:
        """What was done to the kept image; empty if that is unsure, or one could not be had."""
        kept, removed = self._seen(pair.kept), self._seen(pair.removed)
        return guess(kept, removed) if kept and removed else ""

    def pair(self, pair: Pair) -> list[Picture]:
        """The kept image's picture and the other one's."""
        return [self.picture(pair.kept), self.removed(pair)]

    def removed(self, pair: Pair) -> Picture:
        """The picture of the image that is not kept."""
        return self.picture(pair.removed, pair)

    def picture(self, image: ShownImage, pair: Pair | None = None) -> Picture:
        """The picture of an image; `pair` is the one whose kept image stands beside it."""
        facts, caption = self._facts.get(image.address), self._captions.get(image.address)
        thumbnail = self._thumbnails.get(image.address)
        is_known = pair is not None and self._captions.get(pair.kept.address) == caption
        return Picture(
            image_id=image.image_id,
            src=data_uri(thumbnail.jpeg, "jpeg") if thumbnail else None,
            width=thumbnail.width if thumbnail else 0,
            height=thumbnail.height if thumbnail else 0,
            cosine=image.cosine,
            value=image.value,
            guess=self.guess(pair) if pair else "",
            about=f"{facts['width']} x {facts['height']} {facts['format']}" if facts else None,
            n_bytes=facts["n_bytes"] if facts else None,
            caption=whole_caption(caption) if caption else None,
            short_caption=short_caption(caption) if caption and not is_known else None,
        )

    def _seen(self, image: ShownImage) -> Seen | None:
        facts, thumbnail = self._facts.get(image.address), self._thumbnails.get(image.address)
        return Seen(facts, thumbnail) if facts and thumbnail else None


def _thumbnails(tars: Source, store: Store, wanted: list[Address]) -> dict[Address, Thumbnail]:
    """The thumbnails, a few whole images in memory at a time."""
    found = dict[Address, Thumbnail]()
    for _, mine in groupby(wanted, key=lambda address: address[0]):
        addresses = list(mine)
        for start in range(0, len(addresses), _CHUNK):
            images = read_images(tars, store, addresses[start : start + _CHUNK])
            for address, data in images.items():
                small = page_thumbnail(data, max_bytes=MAX_THUMBNAIL_BYTES)
                if small:
                    found[address] = small
    return found
