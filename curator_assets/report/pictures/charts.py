"""Which charts the report has."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from urllib.parse import quote

from curator_assets.report.numbers.funnel import label
from curator_assets.report.numbers.given import Given
from curator_assets.report.numbers.report_numbers import ReportNumbers
from curator_assets.report.pictures import figures
from curator_assets.report.pictures.chart_rendering import Chart, render

MAX_HEAT_MAP_SHARDS = 200


def draw_charts(given: Given, numbers: ReportNumbers) -> dict[str, Chart]:
    """The charts by name; none where there is nothing to draw."""
    return {chart.name: chart for chart in _drawn(given, numbers)}


def score_chart(score: str) -> str:
    """The name of a score's chart; a score may be called anything."""
    return f"score_{quote(score, safe='')}"


def _drawn(given: Given, numbers: ReportNumbers) -> Iterator[Chart]:
    tables = numbers.tables
    steps, curve, pairs = tables["funnel"], tables["eps_curve"], tables["shard_pairs"]
    labels = [label(row) for row in steps.to_dicts()]
    yield render("funnel", partial(figures.draw_funnel, labels, steps["n_images"].to_list()))
    for score in numbers.counts.scores:
        if len(score.counts):
            yield render(score_chart(score.score), partial(figures.draw_score, score))
    if len(curve) > 1:
        eps = given.settings.duplicates.eps
        yield render("eps_curve", partial(figures.draw_eps_curve, curve, eps))
    if len(tables["group_sizes"]):
        yield render("group_sizes", partial(figures.draw_group_sizes, tables["group_sizes"]))
    if len(pairs) and len(given.shards) <= MAX_HEAT_MAP_SHARDS:
        yield render("shard_pairs", partial(figures.draw_shard_pairs, pairs, given.shards))
    yield render("cells", partial(figures.draw_cells, tables["cells"]))
