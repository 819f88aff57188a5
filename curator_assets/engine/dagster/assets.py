"""Assets out of declarations. Every op is an *ensure*.

What is fresh is reported, what is not is made, and nothing else; so any trigger is safe: running
everything twice does the work once.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import dagster as dg

from curator_assets.engine.cluster.ray_cluster import opened_cluster
from curator_assets.engine.dagster.columns import column_schema
from curator_assets.engine.dagster.events import failure, paragraph_first
from curator_assets.engine.dagster.group_events import reporter_of
from curator_assets.engine.dagster.held_connections import hold_connections
from curator_assets.engine.dagster.instance_partitions import (
    InstanceRegistry,
    partitions_of,
    shard_partitions,
)
from curator_assets.engine.dagster.metadata_values import metadata_values
from curator_assets.engine.dagster.partition_keys import shard_of
from curator_assets.engine.dagster.private_names import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    EVENTS_ARE_LOGGED,
)
from curator_assets.engine.dagster.shard_groups import ShardGroups, group_key, shard_groups
from curator_assets.engine.freshness import examine
from curator_assets.engine.intake import known_shards
from curator_assets.engine.making import make
from curator_assets.engine.partitioning import ALL, Partition, Partitioning
from curator_assets.engine.progress import Watch
from curator_assets.engine.stage import External, Failed, Graph, Stage, is_by_shard
from curator_assets.engine.work import Work
from curator_assets.errors import UserError
from curator_assets.masking import masked
from curator_assets.settings import Settings
from curator_assets.storage import layout
from curator_assets.storage.lease import hold_lease
from curator_assets.storage.store import Store

# Pinned below the next minor release; without these every command prints a page of warnings.
warnings.filterwarnings("ignore", category=dg.BetaWarning, message=".*(backfill_policy|owners)")
warnings.filterwarnings("ignore", category=dg.PreviewWarning, message=".*AssetCheckSpec")


class EnsureConfig(dg.Config):
    """Operations only: nothing here changes a result."""

    force: bool = False
    """Make every selected partition again, fresh or not."""


def external_asset(external: External, settings: Settings) -> dg.AssetSpec:
    """The asset of what lies there before anything is made."""
    return dg.AssetSpec(
        external.name,
        partitions_def=shard_partitions(settings),
        group_name=external.group,
        kinds=set(external.kinds),
        description=external.description + _of_groups(settings),
        metadata=metadata_values({"source": masked(settings.source)}),
    )


def stage_asset(
    stage: Stage, graph: Graph, settings: Settings, watch: Watch | None = None
) -> dg.AssetsDefinition:
    """The asset of a stage of a graph, for some settings; its progress is told to `watch`."""

    @dg.asset(
        name=stage.name,
        partitions_def=partitions_of(stage, settings),
        deps=[_dep(stage, dep.stage) for dep in stage.deps],
        group_name=stage.group,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=stage.code_version(settings),
        check_specs=[
            dg.AssetCheckSpec(
                check.name,
                description=check.description,
                asset=stage.name,
                blocking=check.blocking,
            )
            for check in stage.checks
        ],
        kinds=set(stage.kinds),
        metadata=_definition_metadata(stage, settings),
        description=graph.place(stage)
        + stage.description
        + (_of_groups(settings) if is_by_shard(stage) else ""),
    )
    def asset(context: dg.AssetExecutionContext, config: EnsureConfig) -> Iterator[Any]:
        store = Store(settings.output)
        with (
            paragraph_first(context.log),
            hold_lease(store, context.run.run_id, context.log),
            store.pictured(),
            opened_cluster(graph, settings, context.log) as cluster,
        ):
            hold_connections(context.instance)
            registry = InstanceRegistry(context.instance, settings)
            shards = known_shards(graph, settings, registry)
            registry.note_reporting()
            work = Work(
                settings,
                shards,
                context.log,
                watch=watch or Watch(),
                is_forced=config.force,
                cluster=cluster,
            )
            yield from ensure(context, stage, work, force=config.force)

    return asset


def _of_groups(settings: Settings) -> str:
    """What a partition is where it is not one shard."""
    n = settings.shards_per_partition
    if n == 1:
        return ""
    return (
        f"\n\nHere up to {n:,} shards are one partition, called by their ranks of arrival: the "
        f"first is {group_key(0, n)}. Each shard is made by itself all the same."
    )


def _definition_metadata(stage: Stage, settings: Settings) -> dict[str, Any]:
    """What the asset's page shows whatever was made: where the report lies, and the columns."""
    found: dict[str, Any] = dict(
        metadata_values({"report": Store(settings.output).url(layout.REPORT)})
    )
    if stage.columns:
        found |= column_schema(stage.columns(settings), stage.named_columns)
    return found


def ensure(
    context: dg.AssetExecutionContext, stage: Stage, work: Work, *, force: bool
) -> Iterator[Any]:
    """Make the selected partitions that are not fresh, and report all of them.

    Yields:
        Dagster events: one materialisation a partition, one evaluation a check, and the op's
        outputs.

    Raises:
        dagster.Failure: partitions failed; the others are made and recorded.
    """
    groups = shard_groups(work.settings, work.shards) if is_by_shard(stage) else None
    examined = examine(stage, work, _selected(context, groups), force=force)
    reporter = reporter_of(context, stage, work, groups)
    yield from reporter.fresh(examined.fresh, due=examined.fresh)
    context.log.info("%s: %d to make", stage.name, len(examined.stale))
    failed = list(examined.failed)
    for one in failed:
        yield from reporter.outcome(one)
    for outcome in make(stage, [*examined.stale, *examined.undecided], work):
        yield from reporter.outcome(outcome)
        failed += [outcome] if isinstance(outcome, Failed) else []
    work.remember()
    yield from reporter.close()
    if failed:
        raise failure(stage.name, failed, "shard(s)" if groups else "partition(s)")
    for spec in context.assets_def.check_specs:
        yield dg.Output(None, output_name=spec.get_python_identifier())
    yield dg.MaterializeResult(metadata={EVENTS_ARE_LOGGED: True})


def _dep(stage: Stage, dep: Stage | External) -> dg.AssetDep:
    if stage.by is Partitioning.CELL_GROUP and is_by_shard(dep):
        return dg.AssetDep(dep.name, partition_mapping=dg.AllPartitionMapping())
    return dg.AssetDep(dep.name)


def _selected(context: dg.AssetExecutionContext, groups: ShardGroups | None) -> list[Partition]:
    if context.assets_def.partitions_def is None:
        return [ALL]
    keys = context.partition_keys
    if not keys:
        asked = context.run.tags
        first = asked.get(ASSET_PARTITION_RANGE_START_TAG, "?")
        last = asked.get(ASSET_PARTITION_RANGE_END_TAG, "?")
        raise UserError(
            f"the range {first}...{last} runs backwards: {last!r} was registered before {first!r}; "
            f"expected the earlier one first: {last}...{first}"
        )
    if groups is None:
        return [shard_of(key) for key in keys]
    return [shard for key in keys for shard in groups.members.get(key, ())]
