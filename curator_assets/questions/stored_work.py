"""What is stored, looked at without Dagster's instance, and without writing anything."""

import logging
from collections import Counter, defaultdict

from curator_assets.defs.deduplicate.duplicate_groups import DUPLICATE_GROUPS
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.embed.shared_ids import shards_of_one_id_each
from curator_assets.defs.source.tar_shards import TAR_SHARDS
from curator_assets.defs.stages import GRAPH
from curator_assets.engine.freshness import examine
from curator_assets.engine.stage import ancestors, is_by_shard
from curator_assets.engine.work import Purpose, Work
from curator_assets.settings import Settings
from curator_assets.storage.arrivals import read_arrivals
from curator_assets.storage.shards.tar_versions import known_version
from curator_assets.storage.shards.tree import why_unseen
from curator_assets.storage.store import Store


def stored_work(settings: Settings) -> Work:
    """What stages need to be asked about all shards that were ever seen, in order of arrival."""
    shards = tuple(read_arrivals(Store(settings.output)))
    return Work(settings, shards, logging.getLogger(__name__), Purpose.LOOK)


def unmade(work: Work) -> dict[str, Counter[str]]:
    """Which data that verdicts rest on is missing, or was made with other settings.

    A tar that was replaced since it was embedded does not count: what is stored is looked at.

    Returns:
        asset -> why, and how many partitions for that reason; empty if all is there.
    """
    found = defaultdict[str, Counter[str]](Counter)
    shards = list(shards_of_one_id_each(work))
    rests_on = ancestors(DUPLICATE_GROUPS)
    for stage in GRAPH.stages:
        if stage not in rests_on:
            continue
        partitions = shards if is_by_shard(stage) else work.partitions(stage)
        examined = examine(stage, work, partitions)
        found[stage.name].update(examined.stale.values())
        found[stage.name].update(examined.undecided.values())
        found[stage.name].update("waiting for what it is made from" for _ in examined.failed)
    return {asset: counts for asset, counts in found.items() if counts}


def stale_tar(work: Work, shard: str) -> str | None:
    """Why a shard's tar may not be the one that was embedded, or None if it is."""
    try:
        signature = work.tars.signature(shard)
    except FileNotFoundError:
        return "its tar is gone"
    except OSError as error:
        return why_unseen(error)
    version = known_version(work.ledger, TAR_SHARDS.name, shard, signature)
    if version is None:
        return "its tar was touched or replaced since it was embedded"
    embedded = work.require(IMAGE_EMBEDDINGS, shard).inputs.get(TAR_SHARDS.name)
    return None if version == embedded else "its tar was replaced since it was embedded"
