"""`refresh`: make exactly what is stale or missing, everywhere, in one process."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from curator_assets.defs import (
    centroids,
    cluster_assignments,
    curation_report,
    deduplicated_shards,
    duplicate_groups,
    duplicate_ids,
    filter_scores,
    image_embeddings,
    near_duplicate_pairs,
)
from curator_assets.defs.ensure import EnsureConfig, Reporter, failure, work_of
from curator_assets.defs.stage import Examined, Failed, Recorded, Stage, Work, examine, outcomes
from curator_assets.partitions import SHARDS_NAME, register_shards
from curator_assets.resources import Encoder, Storage
from curator_assets.settings import Settings
from curator_assets.storage.lock import hold_refresh_lock
from curator_assets.storage.removal import remove_shard

STAGES = (
    image_embeddings,
    filter_scores,
    centroids,
    cluster_assignments,
    near_duplicate_pairs,
    duplicate_groups,
    duplicate_ids,
    deduplicated_shards,
    curation_report,
)
"""In an order in which each comes after what it is made from."""

_BY_SHARD = {
    image_embeddings.ASSET,
    filter_scores.ASSET,
    cluster_assignments.ASSET,
    duplicate_ids.ASSET,
    deduplicated_shards.ASSET,
}


@dataclass(frozen=True)
class AssetPlan:
    """What a refresh would do about one asset.

    Attributes:
        n_fresh: partitions that are up to date.
        stale: partition -> why it is made.
        n_undecided: partitions that are looked at again once what they are made from is there.
    """

    asset: str
    n_fresh: int
    stale: dict[str | None, str]
    n_undecided: int

    @property
    def reasons(self) -> Counter[str]:
        """Why, and how many partitions for that reason."""
        return Counter(self.stale.values())


class EmptySourceError(RuntimeError):
    """The source lists no tar where there were some: it is more likely away than empty."""


def plan(work: Work) -> list[AssetPlan]:
    """What a refresh would do, asset by asset, without doing it."""
    plans, waiting = list[AssetPlan](), set[str | None]()
    all_wait = False
    for module in STAGES:
        stage = module.stage(work)
        partitions = _partitions(stage, work)
        by_shard = stage.asset in _BY_SHARD
        ready = [p for p in partitions if not all_wait and not (by_shard and p in waiting)]
        if not by_shard and stage.asset != centroids.ASSET and waiting:
            ready = []
        examined = examine(stage, work.ledger, ready)
        n_undecided = len(partitions) - len(ready) + len(examined.failed)
        plans.append(AssetPlan(stage.asset, len(examined.fresh), examined.stale, n_undecided))
        if by_shard:
            waiting |= set(examined.stale) | {failed.partition for failed in examined.failed}
        else:
            all_wait = all_wait or bool(examined.stale or n_undecided)
    return plans


def synchronise(
    instance: dg.DagsterInstance, storage: Storage, settings: Settings, log: Any
) -> list[str]:
    """Register new tars, and let go of the shards whose tars are gone.

    Returns:
        The shards that were let go of.

    Raises:
        EmptySourceError: no tar is left at all.
        FileNotFoundError: there is no source folder.
    """
    tars, store = storage.tars, storage.store
    listed = tars.list_shards()
    new = register_shards(instance, tars, store, marker=settings.marker)
    registered = instance.get_dynamic_partitions(SHARDS_NAME)
    removed = [shard for shard in registered if shard not in listed]
    if removed and not listed:
        raise EmptySourceError(
            f"source {settings.source} lists no tar, but {len(removed)} shards are known; if it is "
            "mounted and truly empty, delete the output, else mount it"
        )
    for shard in removed:
        remove_shard(store, shard, erase=settings.on_removed == "erase")
        instance.delete_dynamic_partition(SHARDS_NAME, shard)
    log.info("%d new shards, %d removed", len(new), len(removed))
    return removed


def build_refresh_job(
    settings: Settings, assets: Sequence[dg.AssetsDefinition]
) -> dg.JobDefinition:
    """The job that makes everything that is stale, for these settings."""
    definitions = {asset.key.to_user_string(): asset for asset in assets}

    @dg.op(out=dg.Out(dg.Nothing))
    def refresh_stale_partitions(
        context: dg.OpExecutionContext, config: EnsureConfig, storage: Storage, encoder: Encoder
    ) -> Iterator[Any]:
        with hold_refresh_lock(storage.store, context.run_id):
            synchronise(context.instance, storage, settings, context.log)
            work = work_of(context, settings, storage, encoder)
            this = _Refresh(work, config.force)
            for module in STAGES:
                stage = module.stage(work)
                yield from this.stage(stage, Reporter(context, stage, definitions[stage.asset]))
        if this.failed:
            raise failure("refresh", this.failed)
        yield dg.Output(None)

    @dg.job(
        name="refresh",
        description="Registers new tars, lets go of removed ones, and makes exactly what is stale "
        "or missing, with the model loaded once. Safe at any time.",
    )
    def refresh() -> None:
        refresh_stale_partitions()

    return refresh


@dataclass
class _Refresh:
    """One pass over the stages.

    Attributes:
        made: asset -> the partitions that this pass has made.
        failed: what could not be made.
    """

    work: Work
    force: bool
    made: dict[str, set[str | None]] = field(default_factory=dict)
    failed: list[Failed] = field(default_factory=list)

    def stage(self, stage: Stage, reporter: Reporter) -> Iterator[Any]:
        """Make the stale partitions of a stage; what failed before is not tried further down."""
        lost = {failure.partition for failure in self.failed}
        partitions = [p for p in _partitions(stage, self.work) if p is None or p not in lost]
        examined = examine(stage, self.work.ledger, partitions, force=self.force)
        self._log(stage, examined)
        touched = self._touched(stage, reporter.deps)
        reported = reporter.reported()
        for partition, entry in examined.fresh.items():
            # or Dagster would mark it stale, or as missing if a kill came between work and event
            if partition in touched or partition not in reported:
                yield from reporter.made(partition, entry, made_now=False)
        made = self.made.setdefault(stage.asset, set())
        self.failed += examined.failed
        for outcome in outcomes(stage, examined.stale, self.work):
            yield from reporter.outcome(outcome)
            if isinstance(outcome, Failed):
                self.failed.append(outcome)
            elif isinstance(outcome, Recorded):
                made.add(outcome.made.partition)
        yield from reporter.close()

    def _touched(self, stage: Stage, deps: Sequence[str]) -> set[str | None]:
        """The partitions of a stage that have an input which this pass has made."""
        partitions = set(_partitions(stage, self.work))
        touched = set[str | None]()
        for dep in deps:
            made = self.made.get(dep, set())
            same = stage.asset in _BY_SHARD and dep in _BY_SHARD
            touched |= made & partitions if same else partitions if made else set()
        return touched

    def _log(self, stage: Stage, examined: Examined) -> None:
        reasons = Counter(examined.stale.values())
        why = "".join(f"; {n} {reason}" for reason, n in reasons.most_common(5))
        n_fresh, n_stale = len(examined.fresh), len(examined.stale)
        self.work.log.info("%s: %d fresh, %d to make%s", stage.asset, n_fresh, n_stale, why)


def _partitions(stage: Stage, work: Work) -> list[str | None]:
    if stage.asset in _BY_SHARD:
        return list(work.shards)
    if stage.asset == near_duplicate_pairs.ASSET:
        return list(work.cell_groups)
    return [None]
