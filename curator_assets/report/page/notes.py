"""What a reader must know before trusting the numbers."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from curator_assets.report.numbers.funnel import totals
from curator_assets.report.numbers.given import Given
from curator_assets.report.numbers.report_numbers import ReportNumbers
from curator_assets.storage import layout


def notes(given: Given, numbers: ReportNumbers) -> Iterator[str]:
    """A sentence or two on each thing that is not as it should be."""
    duplicates = numbers.duplicates
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
    n_counted = totals(numbers.tables["funnel"])["n_duplicates"]
    n_stored = duplicates.shard_pairs.n_duplicates
    if len({at_eps, n_stored, n_counted}) > 1:
        yield (
            f"The counts of duplicates differ: {at_eps:,} by the eps curve, "
            f"{n_stored:,} in the groups, {n_counted:,} in the shards."
        )
    if duplicates.n_filled_in_place:
        yield (
            f"{layout.PAIRS_TO_MARK} holds {duplicates.n_filled_in_place} verdicts and was left "
            f"as it is. Save it as {layout.VERDICTS_PREFIX}.csv, or under another name that begins "
            "so, to count them."
        )
