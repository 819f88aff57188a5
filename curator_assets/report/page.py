"""The page: one HTML file that needs nothing beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from curator_assets.report import charts, marking, text
from curator_assets.report.album import Album
from curator_assets.report.changes import Change
from curator_assets.report.counts import RATES, Counts
from curator_assets.report.funnel import label
from curator_assets.report.galleries import Galleries
from curator_assets.storage import layout

if TYPE_CHECKING:
    from curator_assets.report.build import Given

MAX_FOLDERS, MAX_SHARDS, MAX_PAIRS = 30, 200, 50
"""Rows of the page's tables; the Parquet tables hold all."""


def render_page(
    *,
    given: Given,
    summary: Mapping[str, Any],
    tables: Mapping[str, pl.DataFrame],
    charts: Mapping[str, charts.Chart],
    counts: Counts,
    galleries: Galleries,
    album: Album,
    changes: Sequence[Change] | None,
    notes: Sequence[str],
) -> str:
    """The whole page; whatever comes from data is escaped.

    Args:
        given: what the report is made from.
        summary: the headline numbers.
        tables: by name; see `storage.report_schemas`.
        charts: by name.
        counts: of the pass over the shards.
        galleries: the pictures.
        album: where they come from.
        changes: since the last report; None if this is the first.
        notes: what a reader must know first.
    """
    wished = given.settings.report.wished_precision
    rows = {name: table.to_dicts() for name, table in tables.items() if name != "cells"}
    page = _environment().get_template("page.html.j2")
    return page.render(
        s=summary,
        t=rows,
        svg={name: Markup(chart.svg) for name, chart in charts.items()},
        steps=[row | {"label": label(row)} for row in rows["funnel"]],
        scores=_scores(rows, counts, galleries),
        rates={by: _of(rows["rates"], by) for by in RATES},
        galleries=galleries,
        album=album,
        changes=changes,
        notes=notes,
        why_not=given.why_not,
        eps=given.settings.duplicates.eps,
        max_eps=given.settings.duplicates.max_eps,
        wished=wished,
        n_needed=marking.n_needed(wished),
        min_marked=marking.MIN_MARKED,
        n_empty_cells=int((tables["cells"]["n_images"] == 0).sum()),
        n_cells=len(tables["cells"]),
        files=layout,
        settings=json.dumps(summary["settings"], indent=2, ensure_ascii=False),
        limits={"folders": MAX_FOLDERS, "shards": MAX_SHARDS, "pairs": MAX_PAIRS},
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "n": text.number,
        "percent": text.percent,
        "bytes": text.size,
    }
    return environment


def _scores(
    rows: Mapping[str, list[dict[str, Any]]], counts: Counts, galleries: Galleries
) -> list[dict[str, Any]]:
    """What the page says of each score."""
    return [
        {
            "name": each.score,
            "chart": charts.of_score(each.score),
            "reasons": [rule.reason for rule in each.rules],
            "n_without": each.n_readable - int(each.counts.sum()),
            "sides": {
                side: [
                    row
                    for row in rows["thresholds"]
                    if (row["score"], row["side"]) == (each.score, side)
                ]
                for side in each.sides
            },
            "galleries": galleries.near.get(each.score, []),
        }
        for each in counts.scores
    ]


def _of(rates: list[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    return [row for row in rates if row["by"] == by]
