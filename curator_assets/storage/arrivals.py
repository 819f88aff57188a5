"""The order in which shards were first seen; it never changes once recorded."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from curator_assets.storage import layout, schemas
from curator_assets.storage.store import Store
from curator_assets.storage.tables import read_table, write_table


def read_arrivals(store: Store) -> dict[str, int]:
    """Shard -> rank, in order of rank; empty if none was recorded."""
    try:
        table = read_table(store, layout.ARRIVALS)
    except FileNotFoundError:
        return {}
    return dict(zip(table["shard"].to_pylist(), table["rank"].to_pylist(), strict=True))


def record_arrivals(store: Store, shards: Iterable[str]) -> dict[str, int]:
    """Give each shard that was never seen the next rank, in name order within this drop.

    Returns:
        shard -> rank of every shard ever seen.
    """
    ranks = read_arrivals(store)
    new = sorted(set(shards) - set(ranks))
    if not new:
        return ranks
    first = max(ranks.values(), default=-1) + 1
    ranks |= {shard: first + i for i, shard in enumerate(new)}
    table = pa.table({"shard": list(ranks), "rank": list(ranks.values())})
    write_table(store, layout.ARRIVALS, table, schemas.ARRIVALS)
    return ranks
