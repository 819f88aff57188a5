"""The images that galleries show, and what is stored of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from curator_assets.report.transforms import Facts
from curator_assets.storage.pixels import Address

STORED = ["position", "width", "height", "format", "n_bytes", "content_hash"]


@dataclass(frozen=True)
class Member:
    """One image of a gallery's row.

    Attributes:
        address: shard and position.
        image_id: its name.
        cosine: to the kept image of the row; None for that one.
        value: of the score that the row is about.
    """

    address: Address
    image_id: str
    cosine: float | None = None
    value: float | None = None


class StoredFacts:
    """What is stored of some images, collected a frame at a time."""

    def __init__(self, addresses: Iterable[Address]) -> None:
        self._wanted = dict[str, set[int]]()
        for shard, position in addresses:
            self._wanted.setdefault(shard, set()).add(position)
        self.found = dict[Address, Facts]()

    def add(self, frame: pl.DataFrame) -> None:
        """Take what is wanted from the frame of a shard."""
        shard = frame["shard"].first()
        wanted = self._wanted.get(str(shard))
        if wanted:
            rows = frame.filter(pl.col("position").is_in(sorted(wanted))).select(STORED)
            self.found |= {(str(shard), row.pop("position")): row for row in rows.to_dicts()}
