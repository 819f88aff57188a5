"""The images just above and just below a threshold."""

from __future__ import annotations

from typing import Any

import polars as pl

from curator_assets.report.numbers.shard_frames import copied
from curator_assets.report.numbers.shown_images import STORED, Facts, ShownImage
from curator_assets.storage.shards.pixels import Address


class NearThreshold:
    """The readable images nearest to one bound, found a frame at a time.

    Args:
        score: which score.
        side: min or max.
        bound: the threshold.
        n_images: how many on each side of it.
    """

    def __init__(self, score: str, side: str, bound: float, n_images: int) -> None:
        self.score, self.side, self.bound, self._n_images = score, side, bound, n_images
        self._nearest = dict[bool, pl.DataFrame]()

    def add(self, frame: pl.DataFrame) -> None:
        """Look at the images of a frame."""
        value = pl.col(f"score:{self.score}")
        distance = (value - self.bound).abs()
        inside = value >= self.bound if self.side == "min" else value <= self.bound
        readable = pl.col("readable") & value.is_finite()
        for passes in (True, False):
            held = self._nearest.get(passes)
            is_full = held is not None and len(held) == self._n_images
            nearer = distance < held["distance"][-1] if held is not None and is_full else True
            wanted = frame.filter(readable, inside if passes else ~inside, nearer)
            numbers = value.alias("value"), distance.alias("distance")
            new = wanted.select("shard", "image_id", *STORED, *numbers)
            both = new if held is None else pl.concat([held, new])
            nearest = both.sort("distance", maintain_order=True).head(self._n_images)
            self._nearest[passes] = copied(nearest) if len(new) else nearest

    def images(self, *, passes: bool) -> list[ShownImage]:
        """The nearest images that the bound keeps, or that it drops; the nearest first."""
        return [
            ShownImage((row["shard"], row["position"]), row["image_id"], value=row["value"])
            for row in self._rows(passes)
        ]

    def facts(self) -> dict[Address, Facts]:
        """What is stored of the images on both sides."""
        rows = [*self._rows(True), *self._rows(False)]
        return {(row["shard"], row["position"]): row for row in rows}

    def _rows(self, passes: bool) -> list[dict[str, Any]]:
        return self._nearest[passes].to_dicts() if passes in self._nearest else []
