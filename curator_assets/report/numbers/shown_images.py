"""The images that the report shows, and what is stored of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from curator_assets.storage.shards.pixels import Address

Facts = Mapping[str, Any]
"""`width`, `height`, `format`, `n_bytes` and `content_hash` of an image."""

STORED = ["position", "width", "height", "format", "n_bytes", "content_hash"]
"""Columns of `shard_frames` with the position and the facts of an image."""


@dataclass(frozen=True)
class ShownImage:
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
        schema = {"shard": pl.String, "position": pl.Int32}
        self._wanted = pl.DataFrame(sorted(set(addresses)), schema=schema, orient="row")
        self.found = dict[Address, Facts]()

    def add(self, frame: pl.DataFrame) -> None:
        """Take what is wanted from the samples of some shards."""
        rows = frame.join(self._wanted, on=["shard", "position"], how="semi")
        for row in rows.select("shard", *STORED).to_dicts():
            self.found[row.pop("shard"), row.pop("position")] = row
