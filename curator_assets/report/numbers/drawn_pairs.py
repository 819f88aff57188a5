"""A seeded sample of the pairs of each band."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from curator_assets.report.numbers.marked_pairs import Mark
from curator_assets.report.numbers.removal_frames import BANDED
from curator_assets.report.numbers.shard_frames import copied

N_IDENTICAL = 3
"""Pairs of cosine 1 that are shown, whether or not there is anything to mark at them."""


class DrawnPairs:
    """The pairs of lowest draws of each band, found a frame at a time.

    Args:
        n: how many of a band.
        without: these pairs are left out, whichever of the two is kept.
    """

    def __init__(self, n: int, without: Iterable[Mark] = ()) -> None:
        self._n = n
        self._without = pl.DataFrame(
            [ids for m in without for ids in ((m.image_id, m.kept_id), (m.kept_id, m.image_id))],
            schema={"id": pl.String, "kept_id": pl.String},
            orient="row",
        )
        self._drawn = pl.DataFrame(schema=BANDED)

    def add(self, frame: pl.DataFrame) -> None:
        """Draw among the pairs of a frame; of `banded_frames`."""
        left = frame.join(self._without, on=["id", "kept_id"], how="anti", maintain_order="left")
        place = pl.col("draw").rank("ordinal").over("band")
        self._drawn = copied(pl.concat([self._drawn, left]).filter(place <= self._n))

    @property
    def table(self) -> pl.DataFrame:
        """The drawn pairs, band by band, those of lowest draws first."""
        return self._drawn.sort("band", "draw")
