"""The numbers that a person reads first, and that `report/summary.json` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from curator_assets.report.numbers.band_precision import recommend
from curator_assets.report.numbers.duplicate_tables import DuplicateTables
from curator_assets.report.numbers.funnel import dropped, totals
from curator_assets.report.numbers.given import Given


def headline_numbers(
    given: Given, tables: Mapping[str, pl.DataFrame], duplicates: DuplicateTables
) -> dict[str, Any]:
    """Name -> number, and the settings in force.

    Args:
        given: what the report is made from.
        tables: of `report_numbers`.
        duplicates: what was counted of them.
    """
    steps, sizes, shards = tables["funnel"], tables["group_sizes"], tables["shards"]
    n_bytes = dict(steps.group_by("verdict").agg(pl.col("n_bytes").sum()).iter_rows())
    wished = given.settings.report.wished_precision
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
        "recommended_eps": recommend(tables["precision"], wished, "precision"),
        "recommended_eps_surely": recommend(tables["precision"], wished, "low"),
        "settings": given.settings.model_dump(mode="json"),
    }
