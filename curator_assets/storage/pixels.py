"""Single images out of the source tars, without reading the tars."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from curator_assets.storage import layout
from curator_assets.storage.ledger import Ledger
from curator_assets.storage.source import Source
from curator_assets.storage.store import Store
from curator_assets.storage.tables import read_table
from curator_assets.storage.tar_versions import known_version

Address = tuple[str, int]
"""Shard and position: names a sample."""


def read_images(
    tars: Source, store: Store, addresses: Iterable[Address], *, max_bytes: int | None = None
) -> dict[Address, bytes]:
    """The image files of some samples, as they lie in the tars.

    Left out are samples without an image member, those whose tar is gone or was replaced since it
    was embedded (another image may lie there now), and files of more than `max_bytes`.
    """
    by_shard, ledger = defaultdict[str, set[int]](set), Ledger(store)
    for shard, position in addresses:
        by_shard[shard].add(position)
    images = dict[Address, bytes]()
    for shard, positions in by_shard.items():
        try:
            if known_version(ledger, shard, tars.signature(shard)) is None:
                continue
            index = read_table(store, layout.tar_index(shard)).to_pylist()
            rows = [row for row in index if row["position"] in positions]
            if max_bytes is not None:
                rows = [row for row in rows if row["n_bytes"] <= max_bytes]
            parts = tars.read_ranges(shard, [(row["offset"], row["n_bytes"]) for row in rows])
        except FileNotFoundError:
            continue
        images |= {(shard, row["position"]): part for row, part in zip(rows, parts, strict=True)}
    return images
