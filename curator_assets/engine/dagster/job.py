"""`refresh` as a Dagster job: make exactly what is stale or missing, everywhere, in one process."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from curator_assets.engine.dagster.assets import EnsureConfig
from curator_assets.engine.dagster.events import EventReporter, failure
from curator_assets.engine.dagster.instance_partitions import InstanceRegistry
from curator_assets.engine.intake import let_go, look, register, unread_warning
from curator_assets.engine.refresh import Pass
from curator_assets.engine.stage import Graph
from curator_assets.engine.work import Work
from curator_assets.settings import Settings
from curator_assets.storage.lock import hold_refresh_lock
from curator_assets.storage.store import Store

OP = "refresh_stale_partitions"


def refresh_job(graph: Graph, settings: Settings) -> dg.JobDefinition:
    """The job that makes everything that is stale, for these settings."""

    @dg.op(name=OP, out=dg.Out(dg.Nothing))
    def refresh_stale_partitions(
        context: dg.OpExecutionContext, config: EnsureConfig
    ) -> Iterator[Any]:
        with hold_refresh_lock(Store(settings.output), context.run_id):
            registry = InstanceRegistry(context.instance)
            intake = look(graph, settings, registry)
            let_go(intake, graph, settings, registry)
            register(intake, settings, registry)
            n_new, n_removed = len(intake.unregistered), len(intake.removed)
            context.log.info("%d new shards, %d removed", n_new, n_removed)
            work = Work(settings, intake.shards, context.log)
            if warning := unread_warning(intake, graph, work):
                context.log.warning(warning)
            this = Pass(work, config.force)
            for stage in graph.stages:
                if not stage.is_optional:
                    yield from this.over(stage, EventReporter(context, stage, work))
            work.weights.remember()
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
