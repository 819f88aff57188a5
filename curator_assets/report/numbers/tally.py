"""Images and bytes counted by any columns and the verdict, shard by shard."""

from __future__ import annotations

import polars as pl

from curator_assets.report.numbers.shard_frames import copied

COUNT_OF = {
    "unreadable": "n_unreadable",
    "filtered": "n_filtered",
    "duplicate": "n_duplicates",
    "kept": "n_kept",
}
"""Verdict -> what its count is called."""


_MIN_HELD_ROWS = 100_000


class Tally:
    """Counts that grow by a frame at a time.

    Those of single frames are summed up each time that they are more than the sum has rows, so
    that a frame costs what it holds, however many came before.

    Args:
        by: columns of `shard_frames.frames`, name -> type.
    """

    def __init__(self, **by: type[pl.DataType]) -> None:
        self._keys = [*by, "verdict"]
        counts = {"verdict": pl.String, "n_images": pl.Int64, "n_bytes": pl.Int64}
        self._sum = pl.DataFrame(schema={**by, **counts})
        self._held = list[pl.DataFrame]()
        self._n_held = 0

    def add(self, frame: pl.DataFrame) -> None:
        """Count the samples of a frame."""
        counted = frame.group_by(self._keys).agg(
            pl.len().cast(pl.Int64).alias("n_images"), pl.col("n_bytes").sum()
        )
        self._held.append(copied(counted.select(self._sum.columns)))
        self._n_held += len(counted)
        if self._n_held > max(len(self._sum), _MIN_HELD_ROWS):
            self._sum_up()

    @property
    def table(self) -> pl.DataFrame:
        """One row a combination that occurs: the columns, `verdict`, `n_images`, `n_bytes`."""
        self._sum_up()
        return self._sum

    def _sum_up(self) -> None:
        if self._held:
            rows = pl.concat([self._sum, *self._held], how="vertical_relaxed")
            summed = rows.group_by(self._keys).agg(pl.col("n_images", "n_bytes").sum())
            self._sum = summed.sort(self._keys, nulls_last=False)
            self._held.clear()
            self._n_held = 0

    def by_verdict(self) -> pl.DataFrame:
        """One row a value, a column a verdict; most images first, ties by value."""
        keys = [key for key in self._keys if key != "verdict"]
        n_images, n_bytes, verdict = pl.col("n_images"), pl.col("n_bytes"), pl.col("verdict")
        wide = self.table.group_by(keys).agg(
            n_images.sum(),
            *(n_images.filter(verdict == is_it).sum().alias(n) for is_it, n in COUNT_OF.items()),
            n_bytes.sum(),
            n_bytes.filter(verdict == "kept").sum().alias("n_bytes_kept"),
        )
        return wide.sort(["n_images", *keys], descending=[True, *(False for _ in keys)])
