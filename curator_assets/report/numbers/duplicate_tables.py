"""The removed images and those that a larger eps would remove, read and counted."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from curator_assets.report.numbers.band_precision import precision
from curator_assets.report.numbers.banded_pairs import banded_pairs
from curator_assets.report.numbers.cosine_bands import Band, make_bands
from curator_assets.report.numbers.eps_curve import eps_curve, eps_grid, n_removed_at
from curator_assets.report.numbers.given import Given
from curator_assets.report.numbers.marked_pairs import (
    Mark,
    filled_in_place,
    pairs_to_mark,
    read_marks,
)
from curator_assets.report.numbers.shard_frames import as_frame
from curator_assets.storage import layout
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.parquet import read_table

_NOBODY = schemas.DUPLICATE_GROUPS.empty_table()


@dataclass(frozen=True)
class DuplicateTables:
    """What there is to say of duplicates without looking at the shards.

    Attributes:
        groups: the table of `duplicate_groups`.
        bands: of the settings.
        pairs: of `banded_pairs`.
        curve: the table `eps_curve`.
        marks: the pairs that people marked.
        n_filled_in_place: further ones, in the last table of pairs to mark.
        to_mark: the rows of `pairs` that are to be marked next.
        precision: the table of that name.
    """

    groups: pl.DataFrame
    bands: list[Band]
    pairs: pl.DataFrame
    curve: pl.DataFrame
    marks: list[Mark]
    n_filled_in_place: int
    to_mark: pl.DataFrame
    precision: pl.DataFrame


def duplicate_tables(given: Given) -> DuplicateTables:
    """The tables, the stored pairs being resolved at each eps of the curve.

    Raises:
        VerdictError: a table of marked pairs can't be read.
    """
    chosen, store = given.settings.duplicates, given.store
    marks = read_marks(store, given.verdict_files)
    groups = as_frame(read_table(store, layout.DUPLICATE_GROUPS))
    groups = groups.with_columns(pl.col("shard", "kept_shard").cast(pl.String))
    bands = make_bands(chosen.eps, chosen.max_eps)
    resolver, beyond = given.resolver, None
    if resolver is not None:
        n_removed = n_removed_at(resolver, eps_grid(chosen.eps, chosen.max_eps))
        beyond = as_frame(pa.concat_tables([_NOBODY, *resolver.removals(chosen.max_eps)]))
    else:
        n_removed = {chosen.eps: len(groups)}
    pairs = banded_pairs(groups, beyond, bands, chosen.eps)
    return DuplicateTables(
        groups=groups,
        bands=bands,
        pairs=pairs,
        curve=eps_curve(n_removed, given.n_taking_part),
        marks=marks,
        n_filled_in_place=filled_in_place(store, marks),
        to_mark=pairs_to_mark(pairs, bands, marks, chosen.seed),
        precision=precision(pairs, bands, marks, beyond_is_known=beyond is not None),
    )
