"""What becomes of a shard whose tar is gone."""

from __future__ import annotations

from curator_assets.storage import layout
from curator_assets.storage.ledger import Ledger
from curator_assets.storage.store import Store

_ASSETS = (
    "tar_shards",
    "image_embeddings",
    "filter_scores",
    "cluster_assignments",
    "duplicate_ids",
    "deduplicated_shards",
)


def remove_shard(store: Store, shard: str, *, erase: bool) -> None:
    """Forget a shard; its curated tar and table go to `trash/` unless they are to be erased.

    Ledger entries go first, so that a shard is never vouched for that is half gone. Its rank of
    arrival stays: a tar that comes back under its name takes its old place.
    """
    ledger = Ledger(store)
    for asset in _ASSETS:
        ledger.remove(asset, shard)
    tables = (
        layout.tar_index,
        layout.embeddings,
        layout.scores,
        layout.assignments,
        layout.duplicate_ids,
    )
    for table in tables:
        store.remove(table(shard))
    for name in (layout.curated_tar(shard), layout.curated_table(shard)):
        if erase:
            store.remove(name)
        else:
            store.move(name, f"trash/{name}")
