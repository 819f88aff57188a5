"""Which duplicates the galleries show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import polars as pl

from curator_assets.report.numbers.duplicate_tables import DuplicateTables
from curator_assets.report.numbers.shown_images import Facts, ShownImage
from curator_assets.report.pictures.transform_guess import other_aspect
from curator_assets.storage.shards.pixels import Address

IDENTICAL = 0  # the band
N_IDENTICAL, N_OTHERS, N_SUSPICIOUS = 3, 3, 8

Row = list[ShownImage]
"""A kept image and some that it stands for, or would at a larger eps."""


def band_rows(duplicates: DuplicateTables, band: int) -> list[Row]:
    """Sampled removed images of a band, each with its kept one and some others of its group."""
    pairs, rows = duplicates.drawn.filter(pl.col("band") == band), list[Row]()
    if band == IDENTICAL:
        pairs = pairs.head(N_IDENTICAL)
    for pair in pairs.sort("cosine", "id", descending=[True, False]).to_dicts():
        group = duplicates.members.get(pair["kept_id"], [])
        others = [other for other in group if other["id"] != pair["id"]]
        rows.append(_row([pair, *others[:N_OTHERS]]))
    return rows


def largest_groups(duplicates: DuplicateTables) -> list[tuple[int, Row]]:
    """The largest groups, each with its size and its members of lowest cosine."""
    return [(size, _row(duplicates.members[kept_id])) for kept_id, size in duplicates.largest]


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


def _row(pairs: list[dict[str, Any]]) -> Row:
    """A row of one group, the kept image first."""
    kept = pairs[0]
    return [
        ShownImage((kept["kept_shard"], kept["kept_position"]), kept["kept_id"]),
        *(ShownImage((p["shard"], p["position"]), p["id"], cosine=p["cosine"]) for p in pairs),
    ]
