"""The report, from the stored tables to numbers, charts, pictures and the page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from curator_assets.report import charts, examples, marking, spread
from curator_assets.report.album import Album
from curator_assets.report.bands import Band, make_bands
from curator_assets.report.cells import cells
from curator_assets.report.changes import changes, read_last
from curator_assets.report.charts import Chart, render
from curator_assets.report.counts import Counts, count_samples
from curator_assets.report.eps_curve import Resolves, eps_curve, eps_grid, n_removed_at
from curator_assets.report.funnel import dropped, funnel, label, totals
from curator_assets.report.galleries import Shown, make_galleries
from curator_assets.report.marking import Mark
from curator_assets.report.page import render_page
from curator_assets.report.samples import as_frame
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.assignments import read_centroids
from curator_assets.storage.pixels import read_captions
from curator_assets.storage.report_schemas import TABLES
from curator_assets.storage.source import Source
from curator_assets.storage.store import Store
from curator_assets.storage.tables import read_table, write_table


@dataclass(frozen=True)
class Given:
    """What the report is made from.

    Attributes:
        shards: those with verdicts on the present embeddings, in order of arrival.
        behind: shards that the report leaves out, their verdicts being of other embeddings.
        n_taking_part: images that are readable and pass the filters.
        resolver: resolves the stored pairs at any eps; None if there are too many.
        why_not: in that case, why.
        verdict_files: the tables of marked pairs.
    """

    settings: Settings
    store: Store
    tars: Source
    shards: list[str]
    behind: list[str]
    n_taking_part: int
    resolver: Resolves | None
    why_not: str | None
    verdict_files: list[str]


@dataclass(frozen=True)
class Report:
    """The report as it was written.

    Attributes:
        summary: the numbers of `report/summary.json`.
        funnel: the table of that name.
        charts: by name.
        files: names below the store's root.
        n_missing: images that the galleries could not show.
    """

    summary: Mapping[str, Any]
    funnel: pl.DataFrame
    charts: Mapping[str, Chart]
    files: tuple[str, ...]
    n_missing: int


@dataclass(frozen=True)
class Duplicates:
    """The removed images and those that a larger eps would remove."""

    groups: pl.DataFrame
    bands: list[Band]
    pairs: pl.DataFrame
    curve: pl.DataFrame
    marks: list[Mark]
    to_mark: pl.DataFrame
    precision: pl.DataFrame


def make_report(given: Given) -> Report:
    """Make the report and write all of it.

    Raises:
        VerdictError: a table of marked pairs can't be read.
    """
    settings, store = given.settings, given.store
    last = read_last(store)
    duplicates = _duplicates(given)
    shown = Shown.choose(duplicates.pairs, duplicates.bands, duplicates.to_mark, settings)
    counts = count_samples(store, given.shards, settings, shown.looked_at())
    captions = read_captions(given.tars, store, {*shown.looked_at(), *counts.facts})
    shown = shown.found(counts.near, counts.facts, captions)
    tables = _tables(given, duplicates, counts)
    summary = _summary(given, duplicates, tables)
    drawn = _charts(given, tables, counts)
    album = Album(given.tars, store, shown.addresses(), counts.facts, captions)
    galleries = make_galleries(shown, album, duplicates.bands)
    csv, in_place = _csv_to_mark(store, duplicates)
    page = render_page(
        given=given,
        summary=summary,
        tables=tables,
        charts=drawn,
        counts=counts,
        galleries=galleries,
        album=album,
        changes=None if last is None else changes(last, summary),
        notes=[*_notes(given, duplicates, tables), *in_place],
    )
    files = _write(store, tables, drawn, summary, page, csv)
    return Report(summary, tables["funnel"], drawn, files, album.n_missing)


def _duplicates(given: Given) -> Duplicates:
    chosen, store = given.settings.duplicates, given.store
    marks = marking.read_marks(store, given.verdict_files)
    groups = as_frame(read_table(store, layout.DUPLICATE_GROUPS))
    groups = groups.with_columns(pl.col("shard", "kept_shard").cast(pl.String))
    bands = make_bands(chosen.eps, chosen.max_eps)
    resolver, beyond = given.resolver, None
    if resolver is not None:
        n_removed = n_removed_at(resolver, eps_grid(chosen.eps, chosen.max_eps))
        beyond = as_frame(resolver.removed_table(resolver.at(chosen.max_eps)))
    else:
        n_removed = {chosen.eps: len(groups)}
    pairs = examples.banded_pairs(groups, beyond, bands, chosen.eps)
    return Duplicates(
        groups=groups,
        bands=bands,
        pairs=pairs,
        curve=eps_curve(n_removed, given.n_taking_part),
        marks=marks,
        to_mark=marking.pairs_to_mark(pairs, bands, marks, chosen.seed),
        precision=marking.precision(pairs, bands, marks, beyond_is_known=beyond is not None),
    )


def _tables(given: Given, duplicates: Duplicates, counts: Counts) -> dict[str, pl.DataFrame]:
    rates = [
        tally.by_verdict().rename({by: "value"}).with_columns(by=pl.lit(by))
        for by, tally in counts.rates.items()
    ]
    return {
        "funnel": funnel(counts.reasons.table, given.settings),
        "histograms": pl.concat([s.histogram() for s in counts.scores] or [pl.DataFrame()]),
        "thresholds": pl.concat([s.thresholds() for s in counts.scores] or [pl.DataFrame()]),
        "eps_curve": duplicates.curve,
        "group_sizes": spread.group_sizes(duplicates.groups),
        "shard_pairs": spread.shard_pairs(duplicates.groups),
        "rates": pl.concat(rates, how="diagonal"),
        "shards": counts.shards.by_verdict(),
        "cells": cells(counts.cells, read_centroids(given.store)),
        "precision": duplicates.precision,
    }


def _summary(
    given: Given, duplicates: Duplicates, tables: Mapping[str, pl.DataFrame]
) -> dict[str, Any]:
    steps, sizes, shards = tables["funnel"], tables["group_sizes"], tables["shards"]
    n_bytes = dict(steps.group_by("verdict").agg(pl.col("n_bytes").sum()).iter_rows())
    wished = given.settings.report.wished_precision
    return totals(steps) | {
        "n_bytes": n_bytes["read"],
        "n_bytes_kept": n_bytes["kept"],
        "dropped": dropped(steps),
        "n_shards": len(given.shards),
        "n_shards_without_tar": len(given.shards) - int((shards["n_kept"] > 0).sum()),
        "n_groups": int(sizes["n_groups"].sum()),
        "largest_group": int(sizes["size"].max() or 0),  # type: ignore[arg-type]
        "n_within_shards": spread.within_shards(tables["shard_pairs"]),
        "n_marked": len(duplicates.marks),
        "recommended_eps": marking.recommend(tables["precision"], wished, "precision"),
        "recommended_eps_surely": marking.recommend(tables["precision"], wished, "low"),
        "settings": given.settings.model_dump(mode="json"),
    }


def _charts(given: Given, tables: Mapping[str, pl.DataFrame], counts: Counts) -> dict[str, Chart]:
    return {chart.name: chart for chart in _drawn(given, tables, counts)}


def _drawn(given: Given, tables: Mapping[str, pl.DataFrame], counts: Counts) -> Iterator[Chart]:
    steps, curve = tables["funnel"], tables["eps_curve"]
    labels = [label(row) for row in steps.to_dicts()]
    yield render("funnel", lambda: charts.draw_funnel(labels, steps["n_images"].to_list()))
    for score in counts.scores:
        if len(score.counts):
            yield render(charts.of_score(score.score), lambda s=score: charts.draw_score(s))  # type: ignore[misc]
    if len(curve) > 1:
        eps = given.settings.duplicates.eps
        yield render("eps_curve", lambda: charts.draw_eps_curve(curve, eps))
    if len(tables["group_sizes"]):
        yield render("group_sizes", lambda: charts.draw_group_sizes(tables["group_sizes"]))
    if len(tables["shard_pairs"]) and len(given.shards) <= charts.MAX_HEAT_MAP_SHARDS:
        pairs = tables["shard_pairs"]
        yield render("shard_pairs", lambda: charts.draw_shard_pairs(pairs, given.shards))
    yield render("cells", lambda: charts.draw_cells(tables["cells"]))


def _notes(
    given: Given, duplicates: Duplicates, tables: Mapping[str, pl.DataFrame]
) -> Iterator[str]:
    """What a reader must know before trusting the numbers."""
    if given.behind:
        names = ", ".join(given.behind[:5]) + ", …" * (len(given.behind) > 5)
        yield (
            f"{len(given.behind)} shards are left out, since their verdicts are older than their "
            f"embeddings: {names}. Refresh, then look again."
        )
    if given.why_not:
        yield f"The eps curve: {given.why_not}."
    eps = given.settings.duplicates.eps
    at_eps = int(duplicates.curve.filter(pl.col("eps") == eps)["n_removed"].sum())
    n_counted = totals(tables["funnel"])["n_duplicates"]
    if len({at_eps, len(duplicates.groups), n_counted}) > 1:
        yield (
            f"The counts of duplicates differ: {at_eps:,} by the eps curve, "
            f"{len(duplicates.groups):,} in the groups, {n_counted:,} in the shards."
        )


def _csv_to_mark(store: Store, duplicates: Duplicates) -> tuple[str | None, list[str]]:
    """The table of pairs to mark, and what to say of it; None if a person filled in the last."""
    filled = marking.filled_in_place(store, duplicates.marks)
    if not filled:
        return marking.csv_to_mark(duplicates.to_mark, duplicates.bands), []
    return None, [
        f"{layout.PAIRS_TO_MARK} holds {filled} verdicts and was left as it is. Save it as "
        f"{layout.VERDICTS_PREFIX}.csv, or under another name that begins so, to count them."
    ]


def _write(
    store: Store,
    tables: Mapping[str, pl.DataFrame],
    drawn: Mapping[str, Chart],
    summary: Mapping[str, Any],
    page: str,
    csv: str | None,
) -> tuple[str, ...]:
    """Write all files, and remove the charts of scores that are no more; returns their names."""
    for name, schema in TABLES.items():
        table = tables[name].to_arrow() if tables[name].width else schema.empty_table()
        write_table(store, layout.report_table(name), table, schema)
    texts = {
        layout.REPORT_SUMMARY: json.dumps(summary, indent=2).encode(),
        layout.REPORT: page.encode(),
        **{layout.report_chart(name): chart.png for name, chart in drawn.items()},
    }
    if csv is not None:
        texts[layout.PAIRS_TO_MARK] = csv.encode()
    for name, data in texts.items():
        with store.write(name) as file:
            file.write(data)
    for name in store.names(layout.REPORT_CHARTS):
        if name not in texts:
            store.remove(name)
    tables_written = [layout.report_table(name) for name in TABLES]
    return (*texts, *tables_written, *([] if csv is not None else [layout.PAIRS_TO_MARK]))
