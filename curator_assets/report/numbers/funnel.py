"""From read to kept: what each step took away, in images and bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from curator_assets.report.numbers.tally import COUNT_OF
from curator_assets.settings import Settings


def funnel(counted: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The funnel in the order in which its steps strike.

    Args:
        counted: `verdict`, `reason`, `n_images`, `n_bytes`; of a `Tally`.
        settings: every filter has its row, also where it drops nothing.

    Returns:
        The same columns; the first row is `read`, the sum of all others.
    """
    found = {(row["verdict"], row["reason"]): row for row in counted.to_dicts()}
    unreadable = sorted(
        (key for key in found if key[0] == "unreadable"),
        key=lambda key: (-found[key]["n_images"], key[1]),
    )
    rules = [("filtered", rule.reason) for rule in settings.filters]
    others = sorted(key for key in found if key[0] == "filtered" and key not in rules)
    keys = [*unreadable, *dict.fromkeys([*rules, *others]), ("duplicate", None), ("kept", None)]
    steps = [_step(verdict, reason, found.get((verdict, reason), {})) for verdict, reason in keys]
    read = {column: sum(step[column] for step in steps) for column in ("n_images", "n_bytes")}
    schema = {"verdict": pl.String, "reason": pl.String, "n_images": pl.Int64, "n_bytes": pl.Int64}
    return pl.DataFrame([{"verdict": "read", "reason": None, **read}, *steps], schema=schema)


def _step(verdict: str, reason: str | None, counts: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {column: counts.get(column, 0) for column in ("n_images", "n_bytes")}
    return {"verdict": verdict, "reason": reason, **numbers}


def totals(table: pl.DataFrame) -> dict[str, int]:
    """How many samples were read, and came to each verdict."""
    names = {"read": "n_samples"} | COUNT_OF
    counts = dict(table.group_by("verdict").agg(pl.col("n_images").sum()).iter_rows())
    return {name: counts.get(verdict, 0) for verdict, name in names.items()}


def dropped(table: pl.DataFrame) -> dict[str, int]:
    """Why samples were dropped, and how many; the commonest reason first."""
    rows = table.filter(~pl.col("verdict").is_in(["read", "kept"])).to_dicts()
    counts = {label(row): row["n_images"] for row in rows}
    counts = {why: n for why, n in counts.items() if n or why != "duplicate"}
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def label(row: Mapping[str, Any]) -> str:
    """A row of the funnel in words."""
    verdict, reason = str(row["verdict"]), row["reason"]
    return f"{verdict}: {reason}" if reason else verdict
