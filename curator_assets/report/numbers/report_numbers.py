"""All numbers of the report together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from curator_assets.number_words import counted, plural
from curator_assets.report.numbers.changes import Change, changes, read_last
from curator_assets.report.numbers.cluster_map import cells
from curator_assets.report.numbers.duplicate_tables import DuplicateTables
from curator_assets.report.numbers.funnel import funnel
from curator_assets.report.numbers.given import Given
from curator_assets.report.numbers.headline_numbers import headline_numbers
from curator_assets.report.numbers.recommendation import Recommendation, recommendation
from curator_assets.report.numbers.sample_counts import Counts
from curator_assets.report.numbers.tally import COUNT_OF
from curator_assets.report.numbers.trust import Trust, marked_removals, share_interval
from curator_assets.storage.tables.assignments import read_centroids


@dataclass(frozen=True)
class ReportNumbers:
    """What the report says in numbers.

    Attributes:
        duplicates: of the stored groups and pairs.
        counts: of the pass over the shards.
        tables: by name; see `storage.report_schemas`.
        trust: what was measured of the removals.
        recommendation: which eps to choose.
        summary: the headline numbers.
        last_summary: of the last report with other numbers; None if this is the first.
        changes: since then; likewise.
    """

    duplicates: DuplicateTables
    counts: Counts
    tables: Mapping[str, pl.DataFrame]
    trust: Trust
    recommendation: Recommendation
    summary: Mapping[str, Any]
    last_summary: Mapping[str, Any] | None
    changes: Sequence[Change] | None


def report_numbers(given: Given, duplicates: DuplicateTables, counts: Counts) -> ReportNumbers:
    """The numbers, from what was found of duplicates and counted in the shards."""
    tables = _tables(given, duplicates, counts)
    found = _recommendation(given, duplicates)
    summary = headline_numbers(given, tables, duplicates, found)
    trust = _trust(given, duplicates, summary)
    last = read_last(given.store, summary)
    different = None if last is None else changes(last, summary)
    return ReportNumbers(duplicates, counts, tables, trust, found, summary, last, different)


def _recommendation(given: Given, duplicates: DuplicateTables) -> Recommendation:
    """With what the recommended eps really removes: it may pair images otherwise than was counted.

    It is not asked where the curve has no more than two points.
    """
    evidence, found = duplicates.evidence, _recommended(given, duplicates)
    if found.eps is None or given.why_not:
        return found
    n_removed = dict(duplicates.curve.select("eps", "n_removed").iter_rows())
    if found.eps not in n_removed:
        n_removed |= given.resolver.n_removed_at([found.eps])
    within = duplicates.grid.eps <= found.eps
    n_counted = int(evidence.n_pairs[within].sum())
    n_others = n_removed[found.eps] - n_removed[0.0] - n_counted
    why = found.why
    if n_others > 0:
        why += (
            f" Set, it pairs some images otherwise: about {counted(n_others, 'pair')} that it "
            f"removes {plural(n_others, 'is', 'are')} not among those that were counted here. "
            "Make the report with it, and mark again."
        )
    return replace(found, why=why, n_removed=n_removed[found.eps])


def _recommended(given: Given, duplicates: DuplicateTables) -> Recommendation:
    return recommendation(
        duplicates.bands,
        duplicates.grid,
        duplicates.evidence,
        wished=given.settings.report.wished_precision,
        copies=given.calibration,
        why_no_copies=given.why_no_calibration,
        left_out=duplicates.left_out,
    )


def _trust(given: Given, duplicates: DuplicateTables, summary: Mapping[str, Any]) -> Trust:
    chosen, kept, numbers = given.settings.duplicates, duplicates.kept_images, given.row_numbers
    n_marked, n_right = marked_removals(duplicates.marks, chosen.eps)
    evidence, within = duplicates.evidence, duplicates.grid.eps <= chosen.eps
    n_pairs = int((evidence.n_pairs + evidence.n_absent)[within].sum())
    low, high = share_interval(n_right, n_marked, n_pairs)
    spans = [numbers.rows_of(shard) for shard in given.shards]
    return Trust(
        search=chosen.search,
        rule=chosen.rule,
        n_removed=duplicates.shard_pairs.n_duplicates,
        n_without_kept=kept.n_without_kept,
        lowest_cosine=next(iter(duplicates.lowest["cosine"]), None),
        recall=given.recall,
        n_marked=n_marked,
        n_marked_duplicate=n_right,
        low=low,
        high=high,
        accounted=sum(summary[name] for name in COUNT_OF.values())
        == sum(rows.stop - rows.start for rows in spans),
        n_not_looked_at=kept.n_not_looked_at,
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
