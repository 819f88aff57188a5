"""The report, from the stored tables to numbers, pictures and the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from curator_assets.report.numbers.duplicate_tables import DuplicateTables, duplicate_tables
from curator_assets.report.numbers.given import Given
from curator_assets.report.numbers.marked_pairs import csv_to_mark
from curator_assets.report.numbers.report_numbers import ReportNumbers, report_numbers
from curator_assets.report.numbers.sample_counts import count_samples
from curator_assets.report.page.rendering import render_page
from curator_assets.report.pictures.chart_rendering import Chart
from curator_assets.report.pictures.examples import Examples
from curator_assets.report.pictures.report_pictures import report_pictures
from curator_assets.storage import layout
from curator_assets.storage.store import Store
from curator_assets.storage.tables.parquet import write_table
from curator_assets.storage.tables.report_schemas import TABLES


@dataclass(frozen=True)
class Report:
    """The report as it was written.

    Attributes:
        summary: the numbers of `report/summary.json`.
        funnel: the table of that name.
        charts: by name.
        files: names below the store's root.
        n_missing: images that the galleries could not show.
        why_not: why the eps curve has only two points; None if it has them all.
    """

    summary: Mapping[str, Any]
    funnel: pl.DataFrame
    charts: Mapping[str, Chart]
    files: tuple[str, ...]
    n_missing: int
    why_not: str | None


def make_report(given: Given) -> Report:
    """Make the report and write all of it.

    Raises:
        VerdictError: a table of marked pairs can't be read.
    """
    settings, store = given.settings, given.store
    duplicates = duplicate_tables(given)
    chosen, kept_images = Examples.choose(duplicates), duplicates.kept_images
    counts = count_samples(store, given.shards, settings, chosen.addresses(), [kept_images])
    numbers = report_numbers(given, duplicates, counts)
    pictures = report_pictures(given, numbers, chosen)
    page = render_page(given, numbers, pictures)
    tables = _write_tables(store, numbers.tables)
    files = _write_files(store, numbers, pictures.charts, page)
    to_mark = _write_pairs_to_mark(given, duplicates)
    return Report(
        summary=numbers.summary,
        funnel=numbers.tables["funnel"],
        charts=pictures.charts,
        files=(*files, to_mark, *tables),
        n_missing=pictures.n_missing,
        why_not=given.why_not,
    )


def _write_files(
    store: Store, numbers: ReportNumbers, charts: Mapping[str, Chart], page: str
) -> list[str]:
    """Write summary, page and charts, and remove the files of charts that are no more."""
    files = {
        layout.REPORT_SUMMARY: json.dumps(numbers.summary, indent=2).encode(),
        layout.REPORT: page.encode(),
        **{layout.report_chart(name): chart.file.encode() for name, chart in charts.items()},
    }
    if numbers.last_summary is None:
        store.remove(layout.REPORT_LAST_SUMMARY)
    else:
        files[layout.REPORT_LAST_SUMMARY] = json.dumps(numbers.last_summary, indent=2).encode()
    for name, data in files.items():
        with store.write(name) as file:
            file.write(data)
    for name in store.names(layout.REPORT_CHARTS):
        if name not in files:
            store.remove(name)
    return list(files)


def _write_tables(store: Store, tables: Mapping[str, pl.DataFrame]) -> list[str]:
    for name, schema in TABLES.items():
        table = tables[name].to_arrow() if tables[name].width else schema.empty_table()
        write_table(store, layout.report_table(name), table, schema)
    return [layout.report_table(name) for name in TABLES]


def _write_pairs_to_mark(given: Given, duplicates: DuplicateTables) -> str:
    """Write the table of pairs to mark, unless a person filled in the last one."""
    if not duplicates.n_filled_in_place:
        table = csv_to_mark(duplicates.to_mark, duplicates.bands, given.model)
        with given.store.write(layout.PAIRS_TO_MARK) as file:
            file.write(table.encode())
    return layout.PAIRS_TO_MARK
