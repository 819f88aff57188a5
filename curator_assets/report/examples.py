"""Which duplicates the galleries show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl

from curator_assets.kernels.duplicates import random_order
from curator_assets.report.bands import Band, band_of
from curator_assets.report.members import Member
from curator_assets.report.transforms import Facts, other_aspect
from curator_assets.storage.pixels import Address

N_IDENTICAL, N_A_BAND, N_OTHERS = 3, 6, 3
N_LARGEST, N_OF_LARGEST = 6, 11
N_SUSPICIOUS, N_CANDIDATES = 8, 200

Row = list[Member]
"""A kept image and some that it stands for, or would at a larger eps."""


def banded_pairs(
    groups: pl.DataFrame, beyond: pl.DataFrame | None, bands: list[Band], eps: float
) -> pl.DataFrame:
    """The removed images and those that only a larger eps removes, each with its `band`.

    Args:
        groups: the table of `duplicate_groups`.
        beyond: the same at `max_eps`; None if it was not resolved.
        bands: of the settings.
        eps: the chosen one.

    Returns:
        The columns of `duplicate_groups`, `removed` and `band`.
    """
    parts = [groups.with_columns(removed=pl.lit(True))]
    if beyond is not None:
        farther = pl.col("cosine") < float(np.float32(1 - eps))
        others = beyond.filter(farther).join(groups, on="id", how="anti", maintain_order="left")
        parts.append(others.with_columns(removed=pl.lit(False)))
    pairs = pl.concat(
        part.with_columns(pl.col("shard", "kept_shard").cast(pl.String)) for part in parts
    )
    return pairs.with_columns(band=pl.Series(band_of(pairs["cosine"].to_numpy(), bands)))


def draw(pairs: pl.DataFrame, n: int, seed: int) -> pl.DataFrame:
    """A seeded sample of pairs, stable when others come or go."""
    names = (f"{row[0]}\n{row[1]}" for row in pairs.select("id", "kept_id").iter_rows())
    return pairs[random_order(names, seed=seed)[:n]]


def band_rows(pairs: pl.DataFrame, band: int, seed: int) -> list[Row]:
    """Sampled removed images of a band, each with its kept one and some others of its group."""
    drawn = draw(pairs.filter(pl.col("band") == band), N_A_BAND if band else N_IDENTICAL, seed)
    groups = _by_group(pairs.filter(pl.col("removed")), drawn["kept_id"])
    rows = []
    for pair in drawn.sort("cosine", "id", descending=[True, False]).to_dicts():
        others = [other for other in groups.get(pair["kept_id"], []) if other["id"] != pair["id"]]
        rows.append(_row([pair, *others[:N_OTHERS]]))
    return rows


def largest_groups(pairs: pl.DataFrame) -> list[tuple[int, Row]]:
    """The largest groups, each with its size and its members of lowest cosine."""
    removed = pairs.filter(pl.col("removed"))
    sizes = removed.group_by("kept_id").len().sort(["len", "kept_id"], descending=[True, False])
    largest = sizes.head(N_LARGEST)
    groups = _by_group(removed, largest["kept_id"])
    return [(n + 1, _row(groups[kept_id][:N_OF_LARGEST])) for kept_id, n in largest.iter_rows()]


def lowest_cosines(pairs: pl.DataFrame) -> list[Row]:
    """The removed images of lowest cosine, the lowest first, each with its kept one."""
    return pair_rows(pairs.filter(pl.col("removed")).sort("cosine", "id").head(N_CANDIDATES))


def pair_rows(pairs: pl.DataFrame) -> list[Row]:
    """A row a pair."""
    return [_row([pair]) for pair in pairs.to_dicts()]


def with_other_captions(rows: Iterable[Row], captions: Mapping[Address, str]) -> list[Row]:
    """The rows whose two images are captioned differently."""
    return _first(rows, lambda a, b: captions[a] != captions[b], captions)


def with_other_aspects(rows: Iterable[Row], facts: Mapping[Address, Facts]) -> list[Row]:
    """The rows whose two images differ in width / height."""
    return _first(rows, lambda a, b: other_aspect(facts[a], facts[b]), facts)


def _first(
    rows: Iterable[Row], wanted: Callable[[Address, Address], bool], known: Mapping[Address, Any]
) -> list[Row]:
    pairs = ((row, row[0].address, row[1].address) for row in rows)
    found = [row for row, a, b in pairs if a in known and b in known and wanted(a, b)]
    return found[:N_SUSPICIOUS]


def _by_group(pairs: pl.DataFrame, kept_ids: pl.Series) -> dict[str, list[dict[str, Any]]]:
    """kept_id -> its pairs, those of lowest cosine first."""
    mine = pairs.filter(pl.col("kept_id").is_in(kept_ids.unique().to_list())).sort("cosine", "id")
    groups = mine.partition_by("kept_id", as_dict=True, maintain_order=True)
    return {str(kept_id): group.to_dicts() for (kept_id,), group in groups.items()}


def _row(pairs: list[dict[str, Any]]) -> Row:
    """A row of one group, the kept image first."""
    kept = pairs[0]
    return [
        Member((kept["kept_shard"], kept["kept_position"]), kept["kept_id"]),
        *(Member((p["shard"], p["position"]), p["id"], cosine=p["cosine"]) for p in pairs),
    ]
