"""`refresh` as a Dagster job: make exactly what is stale or missing, everywhere, in one process."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import dagster as dg
from pydantic import Field

from curator_assets.engine.chosen import chosen_shards
from curator_assets.engine.cluster.ray_cluster import opened_cluster
from curator_assets.engine.dagster.assets import EnsureConfig
from curator_assets.engine.dagster.events import failure, paragraph_first
from curator_assets.engine.dagster.group_events import reporter_of
from curator_assets.engine.dagster.held_connections import hold_connections
from curator_assets.engine.dagster.instance_partitions import InstanceRegistry
from curator_assets.engine.dagster.shard_groups import shard_groups
from curator_assets.engine.dagster.step_events import StepEvents
from curator_assets.engine.intake import Intake, let_go, look, register
from curator_assets.engine.intake_words import require_usable, unread_warning, why_removals_wait
from curator_assets.engine.progress import Watch
from curator_assets.engine.refresh import Pass
from curator_assets.engine.stage import Graph
from curator_assets.engine.trash import erase_let_go
from curator_assets.engine.work import Work
from curator_assets.masking import masked_error
from curator_assets.number_words import counted_or_no
from curator_assets.settings import Settings
from curator_assets.storage.lease import hold_lease
from curator_assets.storage.room import remove_leftovers
from curator_assets.storage.shards.not_taken import write_not_taken
from curator_assets.storage.store import Store

OP = "refresh_stale_partitions"


class RefreshConfig(EnsureConfig):
    """Likewise; nothing here changes a result."""

    shards: list[str] = Field(default=[])
    """Shards, or ranges `first...last` in order of arrival, to limit the work to; none: all."""

    allow_removals: bool = False
    """Let go of all shards whose tars are gone, however many; a person's decision."""


class Observer(Watch):
    """Who is told what a refresh finds and does; this one does nothing about it."""

    def looked(self, intake: Intake) -> None:
        """The source was looked at, and what is new is registered."""

    def passed(self, this: Pass) -> None:
        """All stages are through."""


def _erase(graph: Graph, settings: Settings, log: logging.Logger) -> None:
    """Erase what is to be; all is made, so what can't be erased now is so by the next refresh."""
    try:
        erase_let_go(graph, settings)
    except OSError as error:
        log.warning("not all was erased that is to be: %s", masked_error(error))


def _remove_leftovers(store: Store, log: logging.Logger) -> None:
    """Remove what killed processes left in a bucket; where it can't be, others may, later."""
    try:
        if n := remove_leftovers(store):
            log.info("%s of killed runs removed", counted_or_no(n, "unfinished object"))
    except OSError as error:
        log.warning("what killed runs left can't be removed: %s", masked_error(error))


def refresh_job(
    graph: Graph,
    settings: Settings,
    observer: Observer | None = None,
    loggers: Mapping[str, dg.LoggerDefinition] | None = None,
) -> dg.JobDefinition:
    """The job that makes everything that is stale, for these settings.

    Args:
        graph: its stages.
        settings: in force.
        observer: told of a run in this process.
        loggers: of the job, instead of Dagster's own.
    """
    watch = observer or Observer()

    @dg.op(name=OP, out=dg.Out(dg.Nothing))
    def refresh_stale_partitions(
        context: dg.OpExecutionContext, config: RefreshConfig
    ) -> Iterator[Any]:
        store = Store(settings.output)
        with (
            paragraph_first(context.log),
            hold_lease(store, context.run_id, context.log),
            store.pictured(),
            opened_cluster(graph, settings, context.log) as cluster,
        ):
            hold_connections(context.instance)
            _remove_leftovers(store, context.log)
            registry = InstanceRegistry(context.instance, settings)
            intake = look(graph, settings, registry, allow_removals=config.allow_removals)
            if not intake.held_back:
                write_not_taken(store, intake.not_taken)
            require_usable(intake, settings)
            chosen = None
            if config.shards:
                chosen = frozenset(chosen_shards(config.shards, intake.shards))
            let_go(intake, graph, settings, registry)
            register(intake, settings, registry)
            n_new, n_removed = len(intake.unregistered), len(intake.removed)
            removed = f"{n_removed:,}" if n_removed else "none"
            context.log.info("%s, %s removed", counted_or_no(n_new, "new shard"), removed)
            watch.looked(intake)
            if not intake.shards:
                _erase(graph, settings, context.log)
                require_usable(replace(intake, removed=()), settings)
            work = Work(
                settings,
                intake.shards,
                context.log,
                n_bytes=intake.n_bytes,
                listed=intake.listed,
                absent=intake.absent.keys(),
                watch=watch,
                is_forced=config.force,
                cluster=cluster,
            )
            if warning := unread_warning(intake, graph, work):
                context.log.warning(warning)
            steps = StepEvents(context, OP)
            this = Pass(work, config.force, steps, chosen)
            is_whole = config.force and not chosen  # what was made on request is rewritten too
            stages = [
                stage
                for stage in graph.stages
                if not stage.is_optional or (is_whole and work.entry(stage))
            ]
            groups = shard_groups(settings, work.shards)
            anew = chosen is None and registry.is_regrouped()
            registry.note_reporting()
            yield from this.through(
                stages, lambda stage: reporter_of(context, stage, work, groups, anew=anew)
            )
            steps.all_ended(this.steps.values())
            work.remember()
            if chosen is None:  # or others may still need rows of what is let go of
                registry.note_reported()
                _erase(graph, settings, context.log)
        watch.passed(this)
        if this.failed:
            raise failure("refresh", [one for failed in this.failed.values() for one in failed])
        if text := why_removals_wait(intake, settings):  # all else is made
            raise dg.Failure(text, allow_retries=False)
        yield dg.Output(None)

    @dg.job(
        name="refresh",
        logger_defs=loggers,
        description="Registers new tars, lets go of removed ones, and makes exactly what is stale "
        "or missing, with the model loaded once. Safe at any time: what is fresh is left alone.\n\n"
        "The log of a run goes by steps, one an asset: `3 of 9: …` says what is to be made and "
        "why, and later what was made in which time; the last has a table of all. The filter "
        "`type:ENGINE_EVENT` shows them alone.\n\n"
        "In the launchpad, `force` makes everything again, `shards` limits the work to some, and "
        "`allow_removals` lets go of many removed tars at once. Nothing there changes a result: "
        "that is for the settings file.",
    )
    def refresh() -> None:
        refresh_stale_partitions()

    return refresh
