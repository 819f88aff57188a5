"""`refresh` as a Dagster job: make exactly what is stale or missing, everywhere, in one process."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from pydantic import Field

from curator_assets.engine.chosen import chosen_shards
from curator_assets.engine.dagster.assets import EnsureConfig
from curator_assets.engine.dagster.events import EventReporter, failure, paragraph_first
from curator_assets.engine.dagster.instance_partitions import InstanceRegistry
from curator_assets.engine.intake import Intake, let_go, look, register, unread_warning
from curator_assets.engine.progress import Watch
from curator_assets.engine.refresh import Pass
from curator_assets.engine.stage import Graph
from curator_assets.engine.work import Work
from curator_assets.settings import Settings
from curator_assets.storage.lock import hold_refresh_lock
from curator_assets.storage.shards.source import require_tars
from curator_assets.storage.store import Store

OP = "refresh_stale_partitions"


class RefreshConfig(EnsureConfig):
    """Likewise; nothing here changes a result."""

    shards: list[str] = Field(default=[])
    """Shards, or ranges `first...last` in order of arrival, to limit the work to; none: all."""


class Observer(Watch):
    """Who is told what a refresh finds and does; this one does nothing about it."""

    def looked(self, intake: Intake) -> None:
        """The source was looked at, and what is new is registered."""

    def passed(self, this: Pass) -> None:
        """All stages are through."""


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
        with paragraph_first(), hold_refresh_lock(Store(settings.output), context.run_id):
            registry = InstanceRegistry(context.instance, settings)
            intake = look(graph, settings, registry)
            if not intake.removed:
                require_tars(settings.source, intake.n_bytes)
            chosen = None
            if config.shards:
                chosen = frozenset(chosen_shards(config.shards, intake.shards))
            let_go(intake, graph, settings, registry)
            register(intake, settings, registry)
            n_new, n_removed = len(intake.unregistered), len(intake.removed)
            context.log.info("%d new shards, %d removed", n_new, n_removed)
            watch.looked(intake)
            work = Work(
                settings,
                intake.shards,
                context.log,
                n_bytes=intake.n_bytes,
                watch=watch,
                is_forced=config.force,
            )
            if warning := unread_warning(intake, graph, work):
                context.log.warning(warning)
            this = Pass(work, config.force, chosen)
            is_whole = config.force and not chosen  # what was made on request is rewritten too
            stages = [
                stage
                for stage in graph.stages
                if not stage.is_optional or (is_whole and work.entry(stage))
            ]
            yield from this.through(stages, lambda stage: EventReporter(context, stage, work))
            work.weights.remember()
        watch.passed(this)
        if this.failed:
            raise failure("refresh", [one for failed in this.failed.values() for one in failed])
        yield dg.Output(None)

    @dg.job(
        name="refresh",
        logger_defs=loggers,
        description="Registers new tars, lets go of removed ones, and makes exactly what is stale "
        "or missing, with the model loaded once. Safe at any time.",
    )
    def refresh() -> None:
        refresh_stale_partitions()

    return refresh
