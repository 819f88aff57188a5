"""What the source looked like when it was last listed, and what of it a refresh was asked for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from curator_assets.errors import DamagedFileError
from curator_assets.storage import layout
from curator_assets.storage.shards.source import Signature, Source
from curator_assets.storage.store import Store
from curator_assets.storage.tables import schemas
from curator_assets.storage.tables.parquet import read_table, write_table


@dataclass(frozen=True)
class Listing:
    """Every tar that was seen, and those that a refresh was requested for."""

    seen: Mapping[str, Signature]
    requested: Mapping[str, Signature]


@dataclass(frozen=True)
class Change:
    """Tars that are new or replaced and whole, those that are gone, and those still arriving."""

    ready: list[str]
    removed: list[str]
    arriving: list[str]


def read_listing(store: Store) -> Listing:
    """The listing as it was written last; empty if there is none, or none that can be read."""
    try:
        table = read_table(store, layout.LISTING, schemas.LISTING.names)
    except (FileNotFoundError, DamagedFileError):
        return Listing({}, {})
    rows = table.to_pylist()
    seen = {row["shard"]: Signature(row["size"], row["modified"]) for row in rows}
    requested = {row["shard"] for row in rows if row["requested"]}
    return Listing(seen, {shard: seen[shard] for shard in requested})


def write_listing(store: Store, listing: Listing) -> None:
    """Remember a listing; a tar counts as requested only as it was when it was requested."""
    columns = {
        "shard": list(listing.seen),
        "size": [signature.size for signature in listing.seen.values()],
        "modified": [signature.modified for signature in listing.seen.values()],
        "requested": [listing.requested.get(s) == sig for s, sig in listing.seen.items()],
    }
    write_table(store, layout.LISTING, pa.table(columns), schemas.LISTING)


def changes(
    before: Listing,
    now: Mapping[str, Signature],
    tars: Source,
    *,
    marker: str | None,
    max_seconds: float,
) -> Change:
    """What a refresh has to be requested for.

    A tar is ready when it looks the same twice in a row and is whole. When the time is up, the
    tars that were not looked at count as still arriving.
    """
    started = time.monotonic()
    differ = [shard for shard, signature in now.items() if before.requested.get(shard) != signature]
    settled = {shard: now[shard] for shard in differ if before.seen.get(shard) == now[shard]}
    ready = list[str]()
    for whole in tars.whole(settled, marker):
        ready += whole
        if time.monotonic() - started > max_seconds:
            break
    return Change(
        ready=ready,
        removed=[shard for shard in before.requested if shard not in now],
        arriving=sorted(set(differ) - set(ready)),
    )
