"""Groups by size, and duplicates within and across shards, counted a frame at a time."""

from __future__ import annotations

import numpy as np
import polars as pl

from curator_assets.report.numbers.shard_frames import copied

MAX_SHARD_PAIRS = 1_000_000
"""Rows of the table `shard_pairs`."""

_ORDER, _DESCENDING = ["n_duplicates", "shard", "kept_shard"], [True, False, False]


class GroupSizes:
    """How many images each kept one stands for; four bytes an image are held.

    Args:
        n_rows: images of all shards.
    """

    def __init__(self, n_rows: int) -> None:
        self._n_removed = np.zeros(n_rows, np.uint32)

    def add(self, removed: pl.DataFrame) -> None:
        """Count the rows of `removal_frames`."""
        rows, counts = np.unique(removed["kept_row"].to_numpy(), return_counts=True)
        self._n_removed[rows] += counts.astype(np.uint32)

    @property
    def table(self) -> pl.DataFrame:
        """The table `group_sizes`: a group is a kept image and those that it stands for."""
        counts = self._n_removed[self._n_removed > 0]
        counts.sort()
        starts = np.flatnonzero(np.diff(counts, prepend=0))
        sizes, n_groups = counts[starts] + np.int64(1), np.diff(np.append(starts, len(counts)))
        schema = {"size": pl.Int64, "n_groups": pl.Int64}
        return pl.DataFrame({"size": sizes, "n_groups": n_groups}, schema=schema)

    def of(self, kept_row: pl.Series) -> pl.Series:
        """The size of the group of each kept image, int64."""
        return pl.Series(self.n_removed(kept_row.to_numpy()) + 1)

    def n_removed(self, rows: np.ndarray) -> np.ndarray:
        """int64 [n]: how many images each of some rows stands for."""
        found: np.ndarray = self._n_removed[rows].astype(np.int64)
        return found


class ShardPairs:
    """Where the removed lie, and where those lie that stand for them.

    All rows of a shard come in one frame, so the counts of a frame are final.
    """

    def __init__(self) -> None:
        schema = {"shard": pl.String, "kept_shard": pl.String, "n_duplicates": pl.Int64}
        self._held = pl.DataFrame(schema=schema)
        self.n_pairs = self.n_duplicates = self.n_within = 0

    def add(self, removed: pl.DataFrame) -> None:
        """Count the rows of `removal_frames`."""
        counted = removed.group_by("shard", "kept_shard").agg(
            pl.len().cast(pl.Int64).alias("n_duplicates")
        )
        self.n_pairs += len(counted)
        self.n_duplicates += len(removed)
        self.n_within += int((removed["shard"] == removed["kept_shard"]).sum())
        self._held = pl.concat([self._held, copied(counted)])
        if len(self._held) > 2 * MAX_SHARD_PAIRS:
            self._held = self.table

    @property
    def table(self) -> pl.DataFrame:
        """The table `shard_pairs`: the `MAX_SHARD_PAIRS` of most duplicates, ties by name."""
        return self._held.sort(_ORDER, descending=_DESCENDING).head(MAX_SHARD_PAIRS)
