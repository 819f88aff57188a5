"""Single images out of the source tars, without reading the tars."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from curator_assets.storage import layout
from curator_assets.storage.ledger import Ledger
from curator_assets.storage.shards.source import Source
from curator_assets.storage.shards.tar_versions import known_version
from curator_assets.storage.store import Store
from curator_assets.storage.tables.parquet import read_table

Address = tuple[str, int]
"""Shard and position: names a sample."""


def read_images(
    tars: Source, store: Store, addresses: Iterable[Address], *, max_bytes: int | None = None
) -> dict[Address, bytes]:
    """The image files of some samples, as they lie in the tars.

    Left out are samples without an image member, those whose tar is gone or was replaced since it
    was embedded (another image may lie there now), and files of more than `max_bytes`.
    """
    return _read(tars, store, addresses, ("offset", "n_bytes"), max_bytes)


def read_captions(tars: Source, store: Store, addresses: Iterable[Address]) -> dict[Address, str]:
    """The text of the `txt` member of some samples; left out are those without one, and as above.

    Bytes that are not UTF-8 are shown as replacement characters.
    """
    found = _read(tars, store, addresses, ("caption_offset", "caption_n_bytes"))
    return {address: data.decode(errors="replace").strip() for address, data in found.items()}


def _read(
    tars: Source,
    store: Store,
    addresses: Iterable[Address],
    columns: tuple[str, str],
    max_bytes: int | None = None,
) -> dict[Address, bytes]:
    by_shard, ledger = defaultdict[str, set[int]](set), Ledger(store)
    for shard, position in addresses:
        by_shard[shard].add(position)
    members = dict[Address, bytes]()
    for shard, positions in by_shard.items():
        try:
            signature = tars.signature(shard)
        except OSError:  # it is gone, or its folder can't be seen
            continue
        try:
            if known_version(ledger, layout.TAR_SHARDS, shard, signature) is None:
                continue
            index = read_table(store, layout.tar_index(shard))
            if columns[0] not in index.column_names:
                continue  # of a tar that was read before captions were looked at
            wanted = pc.is_in(index["position"], pa.array(sorted(positions), pa.int32()))
            index = index.filter(pc.and_(wanted, index[columns[0]].is_valid()))
            if max_bytes is not None:
                index = index.filter(pc.less_equal(index[columns[1]], max_bytes))
            places = zip(*(index[column].to_pylist() for column in columns), strict=True)
            parts = tars.read_ranges(shard, list(places))
        except FileNotFoundError:
            continue
        found = [(shard, position) for position in index["position"].to_pylist()]
        members |= dict(zip(found, parts, strict=True))
    return members
