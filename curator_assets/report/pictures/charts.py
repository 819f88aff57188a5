"""Which charts the report has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import blake2b
from urllib.parse import quote

import numpy as np
import polars as pl

from curator_assets.report.numbers.given import Given
from curator_assets.report.numbers.report_numbers import ReportNumbers
from curator_assets.report.numbers.score_distributions import ScoreCounts
from curator_assets.report.pictures import figures, findings
from curator_assets.report.pictures.calibration_plot import calibration_chart
from curator_assets.report.pictures.chart_rendering import Chart, render

MAX_HEAT_MAP_SHARDS = 200
_MAX_NAME = 200  # characters; a file system takes 255, with what comes around it


def draw_charts(given: Given, numbers: ReportNumbers) -> dict[str, Chart]:
    """The charts by name; none where there is nothing to draw."""
    return {chart.name: chart for chart in _drawn(given, numbers)}


def score_chart(score: str) -> str:
    """The name of a score's chart, which a file can have; a score may be called anything."""
    name = f"score_{quote(score, safe='')}"
    if len(name) <= _MAX_NAME:
        return name
    return f"{name[: _MAX_NAME - 17]}_{blake2b(score.encode(), digest_size=8).hexdigest()}"


def _drawn(given: Given, numbers: ReportNumbers) -> Iterator[Chart]:
    tables, chosen = numbers.tables, given.settings.duplicates
    recommended, calibration = numbers.recommendation.eps, given.calibration
    if calibration:
        yield calibration_chart(calibration, eps=chosen.eps, max_eps=chosen.max_eps)
    for score in numbers.counts.scores:
        if len(score.counts):
            yield _score(score)
    if len(tables["eps_curve"]) > 1:
        yield _eps_curve(tables["eps_curve"], chosen.eps, recommended)
    if len(tables["group_sizes"]):
        yield _group_sizes(tables["group_sizes"])
    if len(tables["shard_pairs"]) and len(given.shards) <= MAX_HEAT_MAP_SHARDS:
        yield _shard_pairs(tables["shard_pairs"], given.shards)
    yield from _cells(tables["cells"])


def _score(score: ScoreCounts) -> Chart:
    return render(
        score_chart(score.score),
        partial(figures.draw_score, score),
        title="Readable images by the value of the score",
        about=findings.of_score(score),
    )


def _eps_curve(curve: pl.DataFrame, eps: float, recommended: float | None) -> Chart:
    return render(
        "eps_curve",
        partial(figures.draw_eps_curve, curve, eps, recommended),
        title="Images removed at each eps",
        about=findings.of_eps_curve(curve, eps, recommended),
    )


def _group_sizes(sizes: pl.DataFrame) -> Chart:
    return render(
        "group_sizes",
        partial(figures.draw_group_sizes, sizes),
        title="Groups of duplicates by their size",
        about=findings.of_group_sizes(sizes),
    )


def _shard_pairs(pairs: pl.DataFrame, shards: Sequence[str]) -> Chart:
    number = {shard: i for i, shard in enumerate(shards)}
    counts = np.zeros((len(shards), len(shards)), np.int64)
    for shard, kept_shard, n in pairs.iter_rows():
        if shard in number and kept_shard in number:
            counts[number[shard], number[kept_shard]] = n
    return render(
        "shard_pairs",
        partial(figures.draw_shard_pairs, counts),
        title="Duplicates by the shard they lie in and the shard of the kept image",
        about=findings.of_shard_pairs(counts),
    )


def _cells(cells: pl.DataFrame) -> Iterator[Chart]:
    n_images = cells["n_images"].to_numpy()
    yield render(
        "cells",
        partial(figures.draw_cells, cells),
        title="Map of the clusters, a dot each, by size and share of images removed",
        about=findings.of_cells(cells),
    )
    yield render(
        "cell_sizes",
        partial(figures.draw_cell_sizes, n_images),
        title="Sizes of the clusters, the largest first",
        about=findings.of_cell_sizes(n_images),
    )
