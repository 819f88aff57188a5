"""The removed images and those that a larger eps would remove: counted, and some drawn, as read.

Neither those tables nor the pairs are held. The stored table is read three times: for all counts
and draws, together with what `max_eps` would remove; for the largest groups, once all sizes are
known; and for the members that are shown of these groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from curator_assets.report.numbers.band_precision import precision
from curator_assets.report.numbers.cosine_bands import IDENTICAL, Band, make_bands
from curator_assets.report.numbers.cosine_grid import CosineGrid
from curator_assets.report.numbers.drawn_pairs import N_IDENTICAL, DrawnPairs
from curator_assets.report.numbers.duplicate_spread import GroupSizes, ShardPairs
from curator_assets.report.numbers.eps_curve import eps_curve, eps_grid
from curator_assets.report.numbers.given import Given
from curator_assets.report.numbers.group_members import group_members, largest_groups
from curator_assets.report.numbers.marked_cosines import counted_marks
from curator_assets.report.numbers.marked_pairs import (
    N_TO_MARK,
    LeftOutMark,
    Mark,
    filled_in_place,
    read_marks,
)
from curator_assets.report.numbers.marked_precision import Evidence
from curator_assets.report.numbers.removal_frames import BANDED, banded_frames, removal_frames
from curator_assets.report.numbers.shard_frames import copied
from curator_assets.report.numbers.trust import KeptImages
from curator_assets.storage.tables.groups import read_removals

N_LOWEST = 200
"""Removed images of lowest cosine, among which doubtful ones are looked for."""


@dataclass(frozen=True)
class DuplicateTables:
    """What there is to say of duplicates without looking at the shards.

    Attributes:
        bands: of the settings.
        curve: the table `eps_curve`.
        sizes: of the groups.
        shard_pairs: where duplicates lie.
        marks: the pairs that people marked, with their present cosines.
        left_out: marked pairs that do not count.
        grid: of eps that may be recommended.
        evidence: pairs and marks on that grid.
        kept_images: have been told of the removed images.
        n_filled_in_place: further ones, in the last table of pairs to mark.
        to_mark: the pairs that are to be marked next; rows of `banded_frames`.
        identical: some of the pairs of cosine 1, to be shown; likewise.
        lowest: the `N_LOWEST` removed images of lowest cosine, the lowest first; likewise.
        largest: kept id and size of the largest groups.
        members: kept id -> members of these groups.
        precision: the table of that name.
    """

    bands: list[Band]
    curve: pl.DataFrame
    sizes: GroupSizes
    shard_pairs: ShardPairs
    marks: list[Mark]
    left_out: list[LeftOutMark]
    grid: CosineGrid
    evidence: Evidence
    kept_images: KeptImages
    n_filled_in_place: int
    to_mark: pl.DataFrame
    identical: pl.DataFrame
    lowest: pl.DataFrame
    largest: Sequence[tuple[str, int]]
    members: Mapping[str, list[dict[str, Any]]]
    precision: pl.DataFrame


class _PairCounts:
    """What is counted and drawn of the banded pairs, a frame at a time.

    Args:
        given: what the report is made from.
        marks: the pairs that people marked.
        grid: on which pairs are counted.

    Attributes:
        absent: pair -> mark, of those that have not come.
    """

    def __init__(self, given: Given, marks: list[Mark], grid: CosineGrid) -> None:
        numbers = given.row_numbers
        self.sizes, self.shard_pairs = GroupSizes(numbers.n_rows), ShardPairs()
        self.kept_images = KeptImages(numbers, self.sizes, given.settings.duplicates.eps)
        self._grid, self.n_pairs = grid, np.zeros(len(grid.eps), np.int64)
        self.to_mark, self.identical = DrawnPairs(N_TO_MARK, marks), DrawnPairs(N_IDENTICAL)
        self.lowest = pl.DataFrame(schema=BANDED)
        self.by_band = dict[int, int]()
        self.absent = {mark.pair: mark for mark in marks}
        self._marked_ids = pl.Series(sorted({i for m in marks for i in m.pair}), dtype=pl.String)

    def add(self, frame: pl.DataFrame) -> None:
        removed = frame.filter(pl.col("removed"))
        self.sizes.add(removed)
        self.shard_pairs.add(removed)
        self.kept_images.add_removed(removed)
        self.n_pairs += self._grid.counts(frame["cosine"].to_numpy())
        self.to_mark.add(frame.filter(pl.col("cosine") < 1))
        self.identical.add(frame.filter(pl.col("band") == IDENTICAL))
        lowest = pl.concat([self.lowest, removed]).sort("cosine", "id")
        self.lowest = copied(lowest.head(N_LOWEST))
        for band, n in frame["band"].value_counts().iter_rows():
            self.by_band[band] = self.by_band.get(band, 0) + n
        marked = frame.filter(pl.col("id").is_in(self._marked_ids.implode()))
        for ids in marked.select("id", "kept_id").iter_rows():
            self.absent.pop(frozenset(ids), None)


def duplicate_tables(given: Given) -> DuplicateTables:
    """The tables, the stored pairs being resolved at each eps of the curve.

    Raises:
        VerdictError: a table of marked pairs can't be read.
    """
    chosen, store = given.settings.duplicates, given.store
    numbers, said = given.row_numbers, read_marks(store, given.verdict_files)
    marks, left_out = counted_marks(store, numbers.shards, said, given.model)
    bands = make_bands(chosen.eps, chosen.max_eps)
    grid, beyond = CosineGrid(bands), _Counted(given.resolver.removals(chosen.max_eps))
    found = _PairCounts(given, marks, grid)
    for frame in banded_frames(
        read_removals(store), beyond, numbers, bands=bands, eps=chosen.eps, seed=chosen.seed
    ):
        found.add(frame)
    largest = largest_groups(removal_frames(read_removals(store), numbers), found.sizes)
    groups = {kept_id for kept_id, _ in largest}
    n_removed: Mapping[float, int]
    if given.why_not:
        n_removed = {chosen.eps: found.shard_pairs.n_duplicates, chosen.max_eps: beyond.n_rows}
    else:
        n_removed = given.resolver.n_removed_at(eps_grid(chosen.eps, chosen.max_eps))
    return DuplicateTables(
        bands=bands,
        curve=eps_curve(n_removed, given.n_taking_part),
        sizes=found.sizes,
        shard_pairs=found.shard_pairs,
        marks=marks,
        left_out=left_out,
        grid=grid,
        evidence=Evidence.of(grid, found.n_pairs, marks, [*found.absent.values()]),
        kept_images=found.kept_images,
        n_filled_in_place=filled_in_place(store, said),
        to_mark=found.to_mark.table,
        identical=found.identical.table,
        lowest=found.lowest,
        largest=largest,
        members=group_members(removal_frames(read_removals(store), numbers), groups),
        precision=precision(found.by_band, bands, marks),
    )


class _Counted:
    """Tables of removals by shard, as they come; `n_rows` are those that have come."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables, self.n_rows = tables, 0

    def __iter__(self) -> Iterator[tuple[str, pa.Table]]:
        for table in self._tables:
            self.n_rows += len(table)
            yield table["shard"][0].as_py(), table
