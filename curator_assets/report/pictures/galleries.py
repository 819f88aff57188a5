"""The rows of pictures that the report shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from curator_assets.number_words import plural
from curator_assets.report.numbers.cosine_bands import Band
from curator_assets.report.numbers.near_threshold import NearThreshold
from curator_assets.report.numbers.shown_images import Facts
from curator_assets.report.pictures import examples
from curator_assets.report.pictures.examples import N_DOUBTFUL, N_MEMBERS, Examples, Group, Pair
from curator_assets.report.pictures.gallery_pictures import GalleryPictures, Picture
from curator_assets.storage import layout
from curator_assets.storage.shards.pixels import Address


@dataclass(frozen=True)
class PictureRow:
    """Pictures side by side under a heading; of duplicates, the kept image first.

    Attributes:
        heading: what they have in common; may be empty.
        number: line of `pairs_to_mark.csv`; None where there is nothing to mark.
        pictures: from left to right.
    """

    heading: str
    number: int | None
    pictures: list[Picture]


@dataclass(frozen=True)
class Gallery:
    """Rows of pictures under a title; `about` says how they were chosen."""

    title: str
    about: str
    rows: list[PictureRow]


@dataclass(frozen=True)
class Galleries:
    """All galleries; a pair of a removed and a kept image is in one of them.

    Attributes:
        nearest: the removed pairs nearest to eps.
        bands: of each band with pairs, those that were drawn to be marked.
        doubtful: removed pairs of low cosine at which something else is odd.
        largest: a row a group.
        near: of each score, the images on both sides of its thresholds.
    """

    nearest: Gallery
    bands: list[Gallery]
    doubtful: list[Gallery]
    largest: Gallery
    near: Mapping[str, list[Gallery]]

    def pictures(self) -> Iterator[Picture]:
        """Every picture of every gallery."""
        galleries = [self.nearest, *self.bands, *self.doubtful, self.largest]
        galleries += [gallery for of_score in self.near.values() for gallery in of_score]
        for gallery in galleries:
            for row in gallery.rows:
                yield from row.pictures


@dataclass(frozen=True)
class Found:
    """The examples, and what captions and facts tell of them.

    Attributes:
        examples: pairs that were drawn, and the largest groups.
        captioned: of the candidates, the first of another caption.
        aspects: of the others, all of another aspect ratio.
        near: the images near each threshold.
    """

    examples: Examples
    captioned: list[Pair]
    aspects: list[Pair]
    near: Sequence[NearThreshold]

    @classmethod
    def look(
        cls,
        chosen: Examples,
        near: Sequence[NearThreshold],
        facts: Mapping[Address, Facts],
        captions: Mapping[Address, str],
    ) -> Found:
        """Look for doubtful pairs among the candidates."""
        captioned = examples.with_other_captions(chosen.candidates, captions)
        known = {pair.key for pair in captioned}
        others = [pair for pair in chosen.candidates if pair.key not in known]
        return cls(chosen, captioned, examples.with_other_aspects(others, facts), near)

    @property
    def aspects_looked_at(self) -> list[Pair]:
        """The pairs of another aspect ratio whose pixels are compared."""
        return self.aspects[: examples.N_ASPECTS]

    def addresses(self) -> set[Address]:
        """Of every image that is shown, and of the few more that are compared to choose."""
        shown = [*self.examples.drawn(), *self.captioned]
        pairs = [*shown, *self.aspects_looked_at]
        for group in self.examples.groups:
            pairs += group.without(shown).members[: N_MEMBERS + N_DOUBTFUL]
        images = [image for pair in pairs for image in (pair.kept, pair.removed)]
        images += [group.kept for group in self.examples.groups]
        images += [
            i for near in self.near for passes in (True, False) for i in near.images(passes=passes)
        ]
        return {image.address for image in images}


def make_galleries(found: Found, pictures: GalleryPictures, bands: Sequence[Band]) -> Galleries:
    """The galleries of what was found."""
    chosen = found.examples
    unexplained = (pair for pair in found.aspects_looked_at if not pictures.guess(pair))
    aspects = list(islice(unexplained, N_DOUBTFUL))
    removed = [pairs for band, pairs in zip(bands, chosen.bands, strict=True) if band.removed]
    shown = [*chain(chosen.nearest, *removed), *found.captioned, *aspects]
    near = dict[str, list[Gallery]]()
    for each in found.near:
        near.setdefault(each.score, []).append(_near(each, pictures))
    return Galleries(
        nearest=Gallery(
            "Nearest to eps",
            "The removed images of lowest cosine, each beside the image kept for it.",
            _rows(chosen.nearest, pictures),
        ),
        bands=[
            _band(band, pairs, n_elsewhere, pictures)
            for band, pairs, n_elsewhere in zip(
                bands, chosen.bands, chosen.n_elsewhere, strict=True
            )
            if pairs or n_elsewhere
        ],
        doubtful=[
            Gallery(
                "Another caption",
                f"The first among the {chosen.n_lowest} removed images of lowest cosine that are "
                "not shown above.",
                _rows(found.captioned, pictures),
            ),
            Gallery("Another aspect ratio", _about_aspects(found), _rows(aspects, pictures)),
        ],
        largest=_largest(chosen.groups, shown, pictures),
        near=near,
    )


def _band(band: Band, pairs: list[Pair], n_elsewhere: int, pictures: GalleryPictures) -> Gallery:
    about = "A seeded sample of the removed images, each beside the image kept for it."
    if not band.removed:
        about = "A seeded sample of what the chosen eps keeps and max_eps would remove."
    if any(pair.number for pair in pairs):
        about += f" These are the pairs to mark; a number is the line in {layout.PAIRS_TO_MARK}."
    if not pairs:
        about = f"Shown at the top, among those nearest to eps: {n_elsewhere}, the whole sample."
    elif n_elsewhere:
        are = plural(n_elsewhere, "is", "are")
        about += f" {n_elsewhere} more of the sample {are} shown at the top, nearest to eps."
    title = band.name if band.removed else f"{band.name}: not removed"
    return Gallery(title, about, _rows(pairs, pictures))


def _about_aspects(found: Found) -> str:
    n, n_looked = len(found.aspects), len(found.aspects_looked_at)
    return (
        f"Of another width / height than the kept image: {n} of the other removed images of "
        f"lowest cosine. Compared by their pixels: {n_looked}. Shown: the first whose shape no "
        "crop, turn, border or stretch accounts for."
    )


def _largest(groups: Sequence[Group], shown: Sequence[Pair], pictures: GalleryPictures) -> Gallery:
    """A row a group, but for those of which every image is shown elsewhere."""
    rows = []
    for group in groups:
        n_above = sum(pair.kept.image_id == group.kept.image_id for pair in shown)
        if n_above + 1 >= group.size:
            continue
        heading = f"{group.size:,} images" + (f", {n_above:,} of them above" if n_above else "")
        left = group.without(shown).members[:N_MEMBERS]
        others = [pictures.removed(pair) for pair in left]
        rows.append(PictureRow(heading, None, [pictures.picture(group.kept), *others]))
    about = (
        f"The kept image, and of the others the {N_MEMBERS} of lowest cosine that are not shown "
        "above."
    )
    if len(rows) < len(groups):
        n_left_out = len(groups) - len(rows)
        about += f" Shown above in whole: {n_left_out} of the {len(groups)} largest groups."
    return Gallery("The largest groups", about, rows)


def _near(near: NearThreshold, pictures: GalleryPictures) -> Gallery:
    rows = []
    for passes, heading in ((True, "just kept"), (False, "just dropped")):
        nearest = [pictures.picture(image) for image in near.images(passes=passes)]
        rows += [PictureRow(heading, None, nearest)] if nearest else []
    title = f"{near.score}: {near.side} {near.bound:g}"
    return Gallery(title, "The images nearest to the threshold, by this bound alone.", rows)


def _rows(pairs: Iterable[Pair], pictures: GalleryPictures) -> list[PictureRow]:
    return [PictureRow("", pair.number, pictures.pair(pair)) for pair in pairs]
