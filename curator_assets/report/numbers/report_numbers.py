"""All numbers of the report together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from curator_assets.report.numbers.changes import Change, changes, read_last
from curator_assets.report.numbers.cluster_map import cells
from curator_assets.report.numbers.duplicate_tables import DuplicateTables
from curator_assets.report.numbers.funnel import funnel
from curator_assets.report.numbers.given import Given
from curator_assets.report.numbers.headline_numbers import headline_numbers
from curator_assets.report.numbers.recommendation import Recommendation
from curator_assets.report.numbers.sample_counts import Counts
from curator_assets.report.numbers.trust import Trust
from curator_assets.storage.tables.assignments import read_centroids


@dataclass(frozen=True)
class ReportNumbers:
    """What the report says in numbers.

    Attributes:
        duplicates: of the stored groups and pairs.
        counts: of the pass over the shards.
        tables: by name; see `storage.report_schemas`.
        summary: the headline numbers.
        last_summary: of the last report with other numbers; None if this is the first.
        changes: since then; likewise.
        trust: what was measured of the removals.
        recommendation: of an eps.
    """

    duplicates: DuplicateTables
    counts: Counts
    tables: Mapping[str, pl.DataFrame]
    summary: Mapping[str, Any]
    last_summary: Mapping[str, Any] | None
    changes: Sequence[Change] | None
    trust: Trust
    recommendation: Recommendation


def report_numbers(given: Given, duplicates: DuplicateTables, counts: Counts) -> ReportNumbers:
    """The numbers, from what was found of duplicates and counted in the shards."""
    tables = _tables(given, duplicates, counts)
    summary = headline_numbers(given, tables, duplicates)
    last = read_last(given.store, summary)
    different = None if last is None else changes(last, summary)
    lowest = duplicates.lowest["cosine"]
    trust = Trust(
        search=given.settings.duplicates.search,
        n_removed=summary["n_duplicates"],
        n_without_kept=0,
        lowest_cosine=float(lowest[0]) if len(lowest) else None,
        recall=None,
        n_marked=0,
        n_marked_duplicate=0,
        low=None,
        high=None,
        accounted=True,
    )
    recommended = summary["recommended_eps"]
    recommendation = Recommendation(recommended, None, None, "none", "", None, None, ())
    return ReportNumbers(
        duplicates, counts, tables, summary, last, different, trust, recommendation
    )


def _tables(given: Given, duplicates: DuplicateTables, counts: Counts) -> dict[str, pl.DataFrame]:
    rates = [
        tally.by_verdict().rename({by: "value"}).with_columns(by=pl.lit(by))
        for by, tally in counts.rates.items()
    ]
    return {
        "funnel": funnel(counts.reasons.table, given.settings),
        "histograms": pl.concat([s.histogram() for s in counts.scores] or [pl.DataFrame()]),
        "thresholds": pl.concat([s.thresholds() for s in counts.scores] or [pl.DataFrame()]),
        "eps_curve": duplicates.curve,
        "group_sizes": duplicates.sizes.table,
        "shard_pairs": duplicates.shard_pairs.table,
        "rates": pl.concat(rates, how="diagonal"),
        "shards": counts.shards.by_verdict(),
        "cells": cells(counts.cells, read_centroids(given.store)),
        "precision": duplicates.precision,
    }
