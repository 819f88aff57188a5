"""What was measured that tells whether to trust what was removed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from curator_assets.report.numbers.duplicate_spread import GroupSizes
from curator_assets.report.numbers.marked_pairs import Mark
from curator_assets.report.numbers.score_interval import wilson
from curator_assets.storage.tables.pair_tables import RowNumbers


@dataclass(frozen=True)
class RecallFound:
    """What brute force found near a sample of images, and how much of it the search has found.

    Attributes:
        n_queries: images of the sample.
        n_true: their near-duplicates up to `max_eps`.
        n_found: those of them that the search found.
    """

    n_queries: int
    n_true: int
    n_found: int


@dataclass(frozen=True)
class Trust:
    """What was measured of the removals.

    Attributes:
        search: `exact` or `fast`.
        rule: `greedy`, or `semdedup`, by which images may go without a kept one.
        n_removed: images.
        n_without_kept: those of them whose kept image is itself not kept, or lies beyond eps.
        lowest_cosine: of a removed image to its kept one; None if none was removed.
        recall: of the search; None if it was not measured.
        n_marked: marked pairs that the chosen eps removes.
        n_marked_duplicate: those of them that are duplicates.
        low: the lower end of the 95 % interval of their share; None without any.
        high: the upper one.
        accounted: whether the samples by verdict are those that were embedded.
        n_not_looked_at: removed images whose kept image lies in a shard that the report leaves out.
    """

    search: str
    rule: str
    n_removed: int
    n_without_kept: int
    lowest_cosine: float | None
    recall: RecallFound | None
    n_marked: int
    n_marked_duplicate: int
    low: float | None
    high: float | None
    accounted: bool
    n_not_looked_at: int = 0


class KeptImages:
    """Which removed images have a kept one within eps; held are those beyond it.

    First the removals are told, then the verdicts of all images, a frame at a time.

    Args:
        numbers: of the images of all shards.
        sizes: told of the same removals.
        eps: the chosen one.
    """

    def __init__(self, numbers: RowNumbers, sizes: GroupSizes, eps: float) -> None:
        self._numbers, self._sizes, self._least = numbers, sizes, np.float32(1 - eps)
        self._beyond = Counter[int]()  # row of the kept image -> removed images
        self._n_not_kept = self._n_near = self._n_looked_at = 0

    def add_removed(self, removed: pl.DataFrame) -> None:
        """Take rows of `removal_frames`."""
        is_near = removed["cosine"].to_numpy() >= self._least
        self._n_near += int(is_near.sum())
        self._beyond.update(removed["kept_row"].to_numpy()[~is_near].tolist())

    def add(self, frame: pl.DataFrame) -> None:
        """Take the verdicts of rows of `shard_frames.frames`."""
        for (shard,), rows in frame.select("shard", "position", "verdict").group_by("shard"):
            row = self._numbers.rows_of(str(shard)).start + rows["position"].to_numpy()
            referred = self._sizes.n_removed(row)
            if self._beyond:
                referred -= [self._beyond[one] for one in row.tolist()]
            self._n_looked_at += int(referred.sum())
            self._n_not_kept += int(referred[(rows["verdict"] != "kept").to_numpy()].sum())

    @property
    def n_without_kept(self) -> int:
        """Removed images without a kept one within eps, of all whose kept image was looked at."""
        return self._beyond.total() + self._n_not_kept

    @property
    def n_not_looked_at(self) -> int:
        """Removed images within eps of a kept one whose verdict has not come."""
        return self._n_near - self._n_looked_at


def marked_removals(marks: Sequence[Mark], eps: float) -> tuple[int, int]:
    """How many marked pairs an eps removes, and how many of these are duplicates."""
    least = np.float32(1 - eps)
    said = [mark.is_duplicate for mark in marks if np.float32(mark.cosine) >= least]
    return len(said), sum(said)


def share_interval(n_right: int, n: int, n_all: int) -> tuple[float | None, float | None]:
    """The 95 % interval of a share among `n_all`; two None for none seen."""
    return wilson(n_right, n, n_all) if n else (None, None)
