"""All that the report shows, made of the numbers and the stored images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from curator_assets.report.numbers.given import Given
from curator_assets.report.numbers.report_numbers import ReportNumbers
from curator_assets.report.pictures.chart_rendering import Chart
from curator_assets.report.pictures.charts import draw_charts
from curator_assets.report.pictures.examples import Examples
from curator_assets.report.pictures.galleries import Found, Galleries, make_galleries
from curator_assets.report.pictures.gallery_pictures import GalleryPictures
from curator_assets.storage.shards.pixels import read_captions


@dataclass(frozen=True)
class ReportPictures:
    """What the report shows.

    Attributes:
        charts: by name.
        galleries: of images.
        n_wanted: images that the galleries show.
        n_missing: those of them that could not be had, or not be shown.
    """

    charts: Mapping[str, Chart]
    galleries: Galleries
    n_wanted: int
    n_missing: int


def report_pictures(given: Given, numbers: ReportNumbers, chosen: Examples) -> ReportPictures:
    """The charts, and the galleries of the chosen images and of those near thresholds."""
    counts = numbers.counts
    captions = read_captions(given.tars, given.store, {*chosen.addresses(), *counts.facts})
    found = Found.look(chosen, counts.near, counts.facts, captions)
    pictures = GalleryPictures(given.tars, given.store, found.addresses(), counts.facts, captions)
    galleries = make_galleries(found, pictures, numbers.duplicates.bands)
    shown = {picture.image_id: picture.src for picture in galleries.pictures()}
    return ReportPictures(
        charts=draw_charts(given, numbers),
        galleries=galleries,
        n_wanted=len(shown),
        n_missing=sum(src is None for src in shown.values()),
    )
