"""Which duplicates the galleries show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import polars as pl

from curator_assets.report.numbers.banded_pairs import draw_pairs
from curator_assets.report.numbers.shown_images import Facts, ShownImage
from curator_assets.report.pictures.transform_guess import other_aspect
from curator_assets.storage.shards.pixels import Address

N_IDENTICAL, N_A_BAND, N_OTHERS = 3, 6, 3
N_LARGEST, N_OF_LARGEST = 6, 11
N_SUSPICIOUS, N_CANDIDATES = 8, 200

Row = list[ShownImage]
"""A kept image and some that it stands for, or would at a larger eps."""


def band_rows(pairs: pl.DataFrame, band: int, seed: int) -> list[Row]:
    """Sampled removed images of a band, each with its kept one and some others of its group."""
    drawn = draw_pairs(
        pairs.filter(pl.col("band") == band), N_A_BAND if band else N_IDENTICAL, seed
    )
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
        ShownImage((kept["kept_shard"], kept["kept_position"]), kept["kept_id"]),
        *(ShownImage((p["shard"], p["position"]), p["id"], cosine=p["cosine"]) for p in pairs),
    ]
