"""The pictures that the galleries show, small enough for one page.

`MAX_THUMBNAIL_BYTES` times the images that `examples`, `marked_pairs` and `near_threshold` can ask
for, as base64, stays below 7 MB.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from curator_assets.kernels.thumbnails import thumbnail
from curator_assets.report.numbers.shown_images import Facts, ShownImage
from curator_assets.report.pictures.data_uri import data_uri
from curator_assets.report.pictures.transform_guess import guess
from curator_assets.storage.shards.pixels import Address, read_images
from curator_assets.storage.shards.source import Source
from curator_assets.storage.store import Store

MAX_THUMBNAIL_BYTES = 7_000
SIDES = (144, 96, 64, 32)
_MAX_TEXT = 120
_CHUNK = 16


@dataclass(frozen=True)
class Picture:
    """An image of a gallery as the page shows it.

    Attributes:
        image_id: its name.
        src: data URI of the thumbnail; None where the image could not be had.
        head: its part in the row.
        about: its size in pixels and its format; None if nothing is stored of it.
        n_bytes: of its file; None likewise.
        caption: its caption, if it has one.
    """

    image_id: str
    src: str | None
    head: str
    about: str | None
    n_bytes: int | None
    caption: str | None


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
        head = ""
        if image.value is not None:
            head = f"{image.value:.6g}"
        elif image.cosine is not None:
            head = f"cosine {image.cosine:.4f}"
            other = self._facts.get(kept.address) if kept else None
            head += f" · {guess(other, mine)}" if mine and other else ""
        caption = self._captions.get(image.address)
        return Picture(
            image_id=_short(image.image_id),
            src=self._sources.get(image.address),
            head=head,
            about=f"{mine['width']} x {mine['height']} {mine['format']}" if mine else None,
            n_bytes=mine["n_bytes"] if mine else None,
            caption=_short(caption) if caption else None,
        )


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
