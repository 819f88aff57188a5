"""The numbers that a person reads first, and that `report/summary.json` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from curator_assets.report.numbers.duplicate_tables import DuplicateTables
from curator_assets.report.numbers.funnel import dropped, totals
from curator_assets.report.numbers.given import Given
from curator_assets.report.numbers.recommendation import Recommendation


def headline_numbers(
    given: Given,
    tables: Mapping[str, pl.DataFrame],
    duplicates: DuplicateTables,
    found: Recommendation,
) -> dict[str, Any]:
    """Name -> number, and the settings in force.

    Args:
        given: what the report is made from.
        tables: of `report_numbers`.
        duplicates: what was counted of them.
        found: which eps to choose.
    """
    steps, sizes, shards = tables["funnel"], tables["group_sizes"], tables["shards"]
    n_bytes = dict(steps.group_by("verdict").agg(pl.col("n_bytes").sum()).iter_rows())
    return totals(steps) | {
        "n_bytes": n_bytes["read"],
        "n_bytes_kept": n_bytes["kept"],
        "dropped": dropped(steps),
        "n_shards": len(given.shards),
        "n_shards_without_tar": len(given.shards) - int((shards["n_kept"] > 0).sum()),
        "n_not_taken": len(given.not_taken),
        "left_out": dict(given.left_out),
        "n_unseen_images": given.n_unseen_images,
        "n_groups": int(sizes["n_groups"].sum()),
        "largest_group": int(sizes["size"].max() or 0),  # type: ignore[arg-type]
        "n_within_shards": duplicates.shard_pairs.n_within,
        "n_marked": len(duplicates.marks),
        "n_marks_left_out": len(found.left_out),
        "recommended_eps": found.eps,
        "recommended_eps_low": found.low,
        "recommended_eps_high": found.high,
        "recommended_by": found.evidence,
        "settings": given.settings.model_dump(mode="json"),
    }
