"""The page: one HTML file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from curator_assets import number_words
from curator_assets.control_characters import escaped_lines
from curator_assets.report.numbers.funnel import label
from curator_assets.report.numbers.given import Given
from curator_assets.report.numbers.report_numbers import ReportNumbers
from curator_assets.report.numbers.sample_counts import RATES, Counts
from curator_assets.report.page import commands
from curator_assets.report.page.notes import notes
from curator_assets.report.page.settings_table import setting_rows
from curator_assets.report.page.terms import TERMS
from curator_assets.report.page.trust_words import trust_sentence
from curator_assets.report.pictures.charts import score_chart
from curator_assets.report.pictures.galleries import Galleries
from curator_assets.report.pictures.report_pictures import ReportPictures
from curator_assets.settings import STATISTIC_COLUMNS, Settings
from curator_assets.storage import layout
from curator_assets.storage.shards.not_taken import when
from curator_assets.storage.shards.shard_names import printable

MAX_FOLDERS, MAX_SHARDS, MAX_PAIRS, MAX_NOT_TAKEN, MAX_LEFT_OUT = 30, 200, 50, 10, 10
"""Rows of the page's tables; the Parquet tables hold all."""


def render_page(given: Given, numbers: ReportNumbers, pictures: ReportPictures) -> str:
    """The whole page; whatever comes from data is escaped."""
    settings, tables = given.settings, numbers.tables
    chosen, shown = settings.duplicates, numbers.summary["settings"]
    rows = _rows(tables)
    _number_shards(rows["shard_pairs"], given.shards)
    page = _environment().get_template("page.html.j2")
    return page.render(
        s=numbers.summary,
        t=rows,
        given=given,
        numbers=numbers,
        shards=given.shards,
        pictures=pictures,
        galleries=pictures.galleries,
        svg={name: Markup(chart.svg) for name, chart in pictures.charts.items()},
        trust=trust_sentence(numbers.trust, chosen.eps),
        notes=notes(given, numbers, pictures),
        source=shown["source"],
        model=shown["model"],
        eps=chosen.eps,
        max_eps=chosen.max_eps,
        steps=[row | {"label": label(row)} for row in rows["funnel"]],
        scores=_scores(rows, numbers.counts, pictures.galleries),
        spread=numbers.duplicates.shard_pairs,
        not_taken=_not_taken(given),
        settings=list(setting_rows(shown, Settings)),
        recommended=numbers.recommendation,
        n_left_out_shown=MAX_LEFT_OUT,
        wished=settings.report.wished_precision,
        files=layout,
        **_of_rates(tables),
    )


def _of_rates(tables: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    """What the page says of verdicts by format, size and so on."""
    rates = {by: tables["rates"].filter(pl.col("by") == by) for by in RATES}
    return {
        "rates": {by: table.head(MAX_FOLDERS).to_dicts() for by, table in rates.items()},
        "n_rates": {by: len(table) for by, table in rates.items()},
        "n_shards": len(tables["shards"]),
        "n_shard_pairs": len(tables["shard_pairs"]),
        "n_cells": len(tables["cells"]),
        "n_empty_cells": int((tables["cells"]["n_images"] == 0).sum()),
    }


def _rows(tables: Mapping[str, pl.DataFrame]) -> dict[str, list[dict[str, Any]]]:
    """The rows of the tables by name, of long ones those that are shown."""
    shown = {"cells": 0, "rates": 0, "shards": MAX_SHARDS, "shard_pairs": MAX_PAIRS}
    return {
        name: table.head(shown.get(name, len(table))).to_dicts() for name, table in tables.items()
    }


def _number_shards(pairs: list[dict[str, Any]], shards: Sequence[str]) -> None:
    """Add the names of shards with the numbers that the chart has for them."""
    number = {shard: i for i, shard in enumerate(shards, start=1)}
    for row in pairs:
        for column in ("shard", "kept_shard"):
            shard = row[column]
            row[f"{column}_numbered"] = (
                f"{shard} (no. {number[shard]})" if shard in number else shard
            )


@cache
def _environment() -> Environment:
    """Made once: to compile the templates takes longer than to fill them."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_without_control_characters,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "n": number_words.number,
        "counted": number_words.counted,
        "plural": number_words.plural,
        "percent": number_words.percent,
        "bytes": number_words.size,
        "explain": commands.explain,
        "is_removed": _is_removed,
    }
    environment.globals |= {"terms": TERMS}
    return environment


def _is_removed(cosine: float, eps: float) -> bool:
    """Whether eps removes an image of this cosine to its kept one, as bands have it."""
    return bool(np.float32(cosine) >= np.float32(1 - eps))


def _without_control_characters(value: object) -> object:
    """What is put on the page; text in it turns no text around, and can be encoded."""
    return escaped_lines(value) if type(value) is str else value  # `Markup` is the page's own


def _not_taken(given: Given) -> list[dict[str, str]]:
    """The first of what is not taken; names may hold anything."""
    return [
        {"path": printable(path), "reason": printable(one.reason), "since": when(one.since)}
        for path, one in list(given.not_taken.items())[:MAX_NOT_TAKEN]
    ]


def _scores(
    rows: Mapping[str, list[dict[str, Any]]], counts: Counts, galleries: Galleries
) -> list[dict[str, Any]]:
    """What the page says of each score."""
    return [
        {
            "name": each.score,
            "is_statistic": each.score in STATISTIC_COLUMNS,
            "chart": score_chart(each.score),
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
