"""What a refresh will cost, before it is run: images, pairs, bytes and time, each as a range."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from curator_assets.defs.deduplicate.centroids import CENTROIDS, fit_in_force
from curator_assets.defs.deduplicate.cluster_assignments import CLUSTER_ASSIGNMENTS
from curator_assets.defs.deduplicate.near_duplicate_pairs import NEAR_DUPLICATE_PAIRS
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.embed.stored_tables import known_contents
from curator_assets.engine.freshness import why_other_code
from curator_assets.engine.machine import machine
from curator_assets.engine.partitioning import Partition
from curator_assets.engine.plan import StagePlan
from curator_assets.engine.stage import Stage
from curator_assets.engine.work import Work
from curator_assets.questions.forecast.counted_images import counted_images
from curator_assets.questions.forecast.expected_bytes import ExpectedBytes, expected_bytes
from curator_assets.questions.forecast.expected_images import (
    ExpectedImages,
    expected_images,
    images_per_byte,
    looked_at_images_per_byte,
)
from curator_assets.questions.forecast.expected_making import expected_making
from curator_assets.questions.forecast.expected_seconds import ExpectedSeconds, expected_seconds
from curator_assets.questions.forecast.ranges import Range
from curator_assets.questions.forecast.stored_embeddings import (
    StoredEmbeddings,
    stored_embeddings,
    tables_in_force,
)


@dataclass(frozen=True)
class ExpectedSearch:
    """The search for pairs.

    Attributes:
        n_images: that are searched.
        share: of all their pairs that a full search compares; None if it is not known.
        compared: of these, the share that is compared: new images with all.
    """

    n_images: Range | None
    share: Range | None
    compared: Range


@dataclass(frozen=True)
class Forecast:
    """What a refresh will cost.

    Attributes:
        images: that are embedded; None if how many is not known.
        n_to_embed: shards that are embedded.
        search: for pairs; None if there is none.
        n_bytes: that are read and written.
        time: that it takes.
        machine: where.
    """

    images: ExpectedImages | None
    n_to_embed: int
    search: ExpectedSearch | None
    n_bytes: ExpectedBytes
    time: ExpectedSeconds
    machine: str


def forecast(
    plans: Sequence[StagePlan],
    work: Work,
    removed: Collection[str] = (),
    *,
    exact: bool = False,
) -> Forecast | None:
    """What a refresh will cost; None if there is nothing to make. Nothing changes.

    Args:
        plans: of all stages.
        work: that was asked for them; knows the sizes of the tars.
        removed: shards that are let go of.
        exact: read and hash the tars that are embedded, instead of guessing what they hold.
    """
    if not any(plan.stale or plan.undecided for plan in plans):
        return None
    shards = to_embed(plans, work)
    stored = stored_embeddings(work, set(work.shards).difference(shards))
    images, per_byte = None, None
    if exact:
        tables = tables_in_force(work)
        known = known_contents(work, IMAGE_EMBEDDINGS.name, tables) if tables else None
        images = counted_images(shards, work, known)
        if images.n_images.high and images.n_bytes:
            per_byte = Range.of(images.n_images.high / images.n_bytes)
    per_byte = per_byte or images_per_byte(stored) or looked_at_images_per_byte(work.tars, shards)
    if images is None and (per_byte or not shards):
        images = expected_images(shards, work.n_bytes, stored, per_byte or Range.of(0))
    amounts = expected_making(
        plans,
        work,
        embedded=shards,
        removed=removed,
        n_images=images.n_images.high if images else 0,
    )
    search = _search(plans, work, stored, shards, images)
    return Forecast(
        images=images,
        n_to_embed=len(shards),
        search=search,
        n_bytes=expected_bytes(amounts, work, stored, images, per_byte),
        time=expected_seconds(
            amounts,
            images,
            work,
            cells_grow=_cells_grow(plans, work),
            compared=search.compared if search else Range.of(1),
        ),
        machine=machine(work.encoder.device_type(), work.settings.cluster.ray),
    )


def to_embed(plans: Iterable[StagePlan], work: Work) -> list[str]:
    """The shards whose tars are read to be embedded, in order of arrival."""
    due = _due(IMAGE_EMBEDDINGS, plans)
    return [shard for shard in work.shards if shard in due and shard not in work.absent]


def _due(stage: Stage, plans: Iterable[StagePlan]) -> set[Partition]:
    """The partitions of a stage that are made, as far as it can be told."""
    (plan,) = (plan for plan in plans if plan.stage is stage)
    return plan.stale.keys() | plan.undecided.keys()


def _cells_grow(plans: Iterable[StagePlan], work: Work) -> float:
    """The cells of the codebook that is trained, in multiples of those that there are."""
    fit = fit_in_force(work)
    return fit.n_wished / fit.n_clusters if fit and _due(CENTROIDS, plans) else 1.0


def _search(
    plans: Iterable[StagePlan],
    work: Work,
    stored: StoredEmbeddings,
    shards: Collection[str],
    images: ExpectedImages | None,
) -> ExpectedSearch | None:
    if not _due(NEAR_DUPLICATE_PAIRS, plans):
        return None
    others = [one.n_images for shard, one in stored.there.items() if shard not in shards]
    n_images = Range.of(sum(others)) + images.n_images if images else None
    # another codebook, or other visits to its cells, compare another share, and all of it
    is_other = _due(CENTROIDS, plans) or any(
        why_other_code(CLUSTER_ASSIGNMENTS, work, shard)
        for shard in work.made_shards(CLUSTER_ASSIGNMENTS)
    )
    if is_other or any(why_other_code(NEAR_DUPLICATE_PAIRS, work, g) for g in work.cell_groups):
        return ExpectedSearch(n_images, None, Range.of(1))
    return ExpectedSearch(n_images, _last_share(work), _new_with_all(images, sum(others)))


def _new_with_all(images: ExpectedImages | None, n_others: int) -> Range:
    """Of all pairs of images, the share that has a new one: copied images may be new or not."""
    if images is None:
        return Range(0, 1)

    def share(n_new: float) -> float:
        return 1 - (n_others / (n_others + n_new)) ** 2 if n_new else 0.0

    n = images.n_encoded
    return Range(share(n.low), share(images.n_images.high), share(n.expected))


def _last_share(work: Work) -> Range | None:
    """The share of all pairs that a full search compares, by the last one.

    The more images in the same cells, the more pairs, compared and in all; the share stays.
    """
    found = list[float]()
    for group in work.cell_groups:
        with suppress(ValueError):  # it is damaged
            told = work.ledger.read_metadata(NEAR_DUPLICATE_PAIRS.name, group)
            found += [told["share_of_brute_force"]] if "share_of_brute_force" in told else []
    return Range.of(sum(found)) if len(found) == len(work.cell_groups) else None
