"""Which partitions of an input there are."""

import dagster as dg

from curator_assets.partitions import SHARDS_NAME
from curator_assets.storage.arrivals import read_arrivals
from curator_assets.storage.ledger import Entry, Ledger
from curator_assets.storage.store import Store


def made_shards(
    instance: dg.DagsterInstance, store: Store, ledger: Ledger, asset: str
) -> dict[str, Entry]:
    """The registered shards of which `asset` was made, in order of arrival, with their entries."""
    ranks = read_arrivals(store)
    registered = sorted(instance.get_dynamic_partitions(SHARDS_NAME), key=ranks.__getitem__)
    entries = {shard: ledger.read(asset, shard) for shard in registered}
    return {shard: entry for shard, entry in entries.items() if entry is not None}
