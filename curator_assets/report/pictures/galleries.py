"""The rows of pictures that the report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from curator_assets.report.numbers.cosine_bands import Band
from curator_assets.report.numbers.duplicate_tables import DuplicateTables
from curator_assets.report.numbers.group_members import N_MEMBERS
from curator_assets.report.numbers.near_threshold import NearThreshold
from curator_assets.report.numbers.shown_images import Facts
from curator_assets.report.pictures import examples
from curator_assets.report.pictures.examples import Row
from curator_assets.report.pictures.gallery_pictures import GalleryPictures, Picture
from curator_assets.storage.shards.pixels import Address


@dataclass(frozen=True)
class PictureRow:
    """Pictures side by side under a heading; of duplicates, the kept image first."""

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
    """All galleries: `near` by score, the others one below the other."""

    near: Mapping[str, list[Gallery]]
    nearest: Gallery
    bands: list[Gallery]
    largest: Gallery
    doubtful: list[Gallery]


@dataclass(frozen=True)
class Shown:
    """Which images the galleries show.

    Attributes:
        bands: rows of each band.
        largest: size and row of each of the largest groups.
        candidates: the removed images of lowest cosine, among which doubtful ones are looked for.
        to_mark: a row a pair.
        doubtful: title -> rows, once they are found.
        near: the images near each threshold, once they are found.
    """

    bands: list[list[Row]]
    largest: list[tuple[int, Row]]
    candidates: list[Row]
    to_mark: list[Row]
    doubtful: Mapping[str, list[Row]] = field(default_factory=dict)
    near: Sequence[NearThreshold] = ()

    @classmethod
    def choose(cls, duplicates: DuplicateTables) -> Shown:
        """Choose among the pairs that were drawn."""
        bands = range(len(duplicates.bands))
        return cls(
            bands=[examples.band_rows(duplicates, band) for band in bands],
            largest=examples.largest_groups(duplicates),
            candidates=examples.pair_rows(duplicates.lowest),
            to_mark=examples.pair_rows(duplicates.to_mark),
        )

    def found(
        self,
        near: Sequence[NearThreshold],
        facts: Mapping[Address, Facts],
        captions: Mapping[Address, str],
    ) -> Shown:
        """With the images near thresholds and the doubtful ones of the candidates."""
        doubtful = {
            "Lowest cosine": self.candidates[: examples.N_SUSPICIOUS],
            "Another caption": examples.with_other_captions(self.candidates, captions),
            "Another aspect ratio": examples.with_other_aspects(self.candidates, facts),
        }
        return replace(self, near=near, doubtful=doubtful)

    def addresses(self) -> set[Address]:
        """Of every image that is shown."""
        rows = [row for band in self.bands for row in band]
        rows += [row for _, row in self.largest] + self.to_mark
        rows += [row for chosen in self.doubtful.values() for row in chosen]
        rows += [near.images(passes=passes) for near in self.near for passes in (True, False)]
        return {image.address for row in rows for image in row}

    def looked_at(self) -> set[Address]:
        """Of every image that is shown, and of the candidates."""
        return self.addresses() | {image.address for row in self.candidates for image in row}


def make_galleries(shown: Shown, pictures: GalleryPictures, bands: list[Band]) -> Galleries:
    """The galleries of the chosen images."""
    near = dict[str, list[Gallery]]()
    for each in shown.near:
        near.setdefault(each.score, []).append(_near(each, pictures))
    done = set[tuple[str, str]]()

    def once(rows: list[Row]) -> list[Row]:
        left = [row for row in rows if _pair(row) not in done]
        done.update(map(_pair, left))
        return left

    nearest = Gallery(
        "Nearest to eps",
        "The eight removed images of lowest cosine.",
        [_picture_row(row, pictures, "", None) for row in once(shown.candidates[:8])],
    )
    numbered = {_pair(row): number for number, row in enumerate(shown.to_mark, start=2)}
    by_band = [
        _band(band, once([r for r in shown.to_mark if _fits(r, band)]), pictures, numbered)
        for band in bands
    ]
    doubtful = [
        Gallery(
            title,
            f"Among the {len(shown.candidates)} removed images of lowest cosine.",
            [_picture_row(row, pictures, "", None) for row in once(list(shown.doubtful[title]))],
        )
        for title in shown.doubtful
        if title != "Lowest cosine"
    ]
    return Galleries(
        near=near,
        nearest=nearest,
        bands=[gallery for gallery in by_band if gallery.rows],
        largest=Gallery(
            "The largest groups",
            f"The kept image, and of the others the {N_MEMBERS} of lowest cosine.",
            [_picture_row(row, pictures, f"{size:,} images", None) for size, row in shown.largest],
        ),
        doubtful=doubtful,
    )


def _pair(row: Row) -> tuple[str, str]:
    return row[0].image_id, row[1].image_id


def _fits(row: Row, band: Band) -> bool:
    distance = 1 - (row[1].cosine or 0)
    return band.eps_from < distance <= band.eps_to or (band.eps_to == 0 and distance <= 0)


def _band(
    band: Band, rows: list[Row], pictures: GalleryPictures, numbered: Mapping[tuple[str, str], int]
) -> Gallery:
    about = "A seeded sample of the removed images, each beside the image kept for it."
    if not band.removed:
        about = "A seeded sample of what the chosen eps keeps and max_eps would remove."
    title = band.name if band.removed else f"{band.name}: not removed"
    return Gallery(
        title, about, [_picture_row(row, pictures, "", numbered.get(_pair(row))) for row in rows]
    )


def _near(near: NearThreshold, pictures: GalleryPictures) -> Gallery:
    rows = []
    for passes, heading in ((True, "just kept"), (False, "just dropped")):
        nearest = [pictures.picture(image) for image in near.images(passes=passes)]
        rows += [PictureRow(heading, None, nearest)] if nearest else []
    title = f"{near.score}: {near.side} {near.bound:g}"
    return Gallery(title, "The images nearest to the threshold, by this bound alone.", rows)


def _picture_row(
    row: Row, pictures: GalleryPictures, heading: str, number: int | None
) -> PictureRow:
    kept, *removed = row
    others = [pictures.picture(image, kept) for image in removed]
    return PictureRow(heading, number, [pictures.picture(kept), *others])
