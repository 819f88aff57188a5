"""How much of each stage a refresh makes, in bytes of the tars that it is made of."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from curator_assets.defs.deduplicate.duplicate_groups import DUPLICATE_GROUPS
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.engine.freshness import why_other_code
from curator_assets.engine.partitioning import ALL, Partitioning
from curator_assets.engine.plan import StagePlan
from curator_assets.engine.stage import Stage, ancestors
from curator_assets.engine.work import Work
from curator_assets.questions.forecast.ranges import Range


def expected_making(
    plans: Sequence[StagePlan],
    work: Work,
    *,
    embedded: Collection[str],
    removed: Collection[str],
    n_images: float,
) -> dict[Stage, Range]:
    """The bytes of the tars whose partitions are made, of each stage of which any is.

    Of a stage that is made over all shards, those of all tars. What is made by what is to be
    removed of each shard may stay as it is: only some of these shards are touched.

    Args:
        plans: of all stages.
        work: knows the sizes of the tars.
        embedded: the shards that are embedded.
        removed: shards that are let go of.
        n_images: of the shards that are embedded.
    """
    amounts = dict[Stage, Range]()
    for plan in plans:
        stale, waiting = plan.stale.keys(), plan.undecided.keys()
        if not stale and not waiting:
            continue
        surely, maybe = stale | waiting, set[str]()
        if plan.stage.by is not Partitioning.SHARD:
            surely = set(work.shards)
        elif DUPLICATE_GROUPS in ancestors(plan.stage):
            surely = stale | (waiting & set(embedded))
            maybe = waiting - surely
        low, rest = _n_bytes(surely, work.n_bytes), _n_bytes(maybe, work.n_bytes)
        if maybe:
            rest *= _touched(plan.stage, maybe, work, embedded, removed, n_images)
        amounts[plan.stage] = Range(low, low + rest)
    return amounts


def _n_bytes(shards: Iterable[str], sizes: Mapping[str, int]) -> float:
    return sum(sizes.get(shard, 0) for shard in shards)


def _touched(
    stage: Stage,
    maybe: Collection[str],
    work: Work,
    embedded: Collection[str],
    removed: Collection[str],
    n_images: float,
) -> float:
    """The share, at most, of some shards of which something else is removed than before.

    An image that comes or goes touches one of them if it is a duplicate, and stands for another
    then; the first to arrive stands for all of its like, so what is only added touches none.
    """
    if why_other_code(DUPLICATE_GROUPS, work, ALL):
        return 1.0
    if any(why_other_code(stage, work, shard) for shard in maybe):
        return 1.0
    before = [work.ledger.read(IMAGE_EMBEDDINGS.name, shard) for shard in (*embedded, *removed)]
    is_only_added = not any(before)
    if is_only_added and work.settings.duplicates.keep == "first":
        return 0.0
    try:
        fraction = work.ledger.read_metadata(DUPLICATE_GROUPS.name).get("duplicate_fraction", 1.0)
    except ValueError:  # damaged
        return 1.0
    n_moved = n_images + sum(entry.state["n_samples"] for entry in before if entry)
    return 1 - math.exp(-fraction * n_moved / len(maybe))
