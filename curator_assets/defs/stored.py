"""What is stored, looked at without Dagster's instance, and without writing anything."""

import logging
from collections import Counter, defaultdict
from typing import Any

from curator_assets.defs import (
    centroids,
    cluster_assignments,
    filter_scores,
    image_embeddings,
    near_duplicate_pairs,
)
from curator_assets.defs.stage import CODE, Work, examine
from curator_assets.resources import resources
from curator_assets.settings import Settings
from curator_assets.storage.arrivals import read_arrivals
from curator_assets.storage.tar_versions import known_version


def stored_work(settings: Settings) -> Work:
    """What stages need to be asked about all shards that were ever seen, in order of arrival."""
    made = resources(settings)
    storage, encoder = made["storage"], made["encoder"]
    shards = tuple(read_arrivals(storage.store))
    return Work(settings, storage, encoder, shards, logging.getLogger(__name__))


def unmade(work: Work) -> dict[str, Counter[str]]:
    """Which data that verdicts rest on is missing, or was made with other settings.

    A tar that was replaced since it was embedded does not count: what is stored is looked at.

    Returns:
        asset -> why, and how many partitions for that reason; empty if all is there.
    """
    found = defaultdict[str, Counter[str]](Counter)
    shards = list(work.made_shards(image_embeddings.ASSET))
    weights = work.encoder.weights_identity()
    reasons = [stale_embeddings(work, shard, weights) for shard in shards]
    found[image_embeddings.ASSET].update(reason for reason in reasons if reason)
    partitions: dict[Any, list[str | None]] = {
        filter_scores: [*shards],
        centroids: [None],
        cluster_assignments: [*shards],
        near_duplicate_pairs: [*work.cell_groups],
    }
    for module, keys in partitions.items():
        examined = examine(module.stage(work), work.ledger, keys)
        found[module.ASSET].update(examined.stale.values())
        found[module.ASSET].update("waiting for what it is made from" for _ in examined.failed)
    return {asset: counts for asset, counts in found.items() if counts}


def stale_embeddings(work: Work, shard: str, weights: str) -> str | None:
    """Why a shard's embeddings are not of these settings and weights, or None if they are."""
    entry = work.require(image_embeddings.ASSET, shard)
    if entry.inputs.get(CODE) != image_embeddings.code_version(work.settings):
        return f"changed: {CODE}"
    if entry.inputs.get("weights") != weights:
        return "changed: weights"
    missing = work.ledger.missing_files(entry)
    return f"missing: {', '.join(missing)}" if missing else None


def stale_tar(work: Work, shard: str) -> str | None:
    """Why a shard's tar may not be the one that was embedded, or None if it is."""
    try:
        signature = work.storage.tars.signature(shard)
    except FileNotFoundError:
        return "its tar is gone"
    version = known_version(work.ledger, shard, signature)
    if version is None:
        return "its tar was touched or replaced since it was embedded"
    embedded = work.require(image_embeddings.ASSET, shard).inputs.get("tar_shards")
    return None if version == embedded else "its tar was replaced since it was embedded"
