"""`curate plan`: what a refresh would make, and why."""

from __future__ import annotations

import logging

import dagster as dg

from curator_assets.cli.console import print_table, say
from curator_assets.cli.instance import looked_at_instance
from curator_assets.defs.stages import GRAPH
from curator_assets.engine.dagster.instance_partitions import InstanceRegistry
from curator_assets.engine.intake import Intake, look, unread_warning
from curator_assets.engine.plan import StagePlan, plan
from curator_assets.engine.work import Purpose, Work
from curator_assets.errors import named
from curator_assets.models.identity import UNDECIDED
from curator_assets.settings import Settings
from curator_assets.settings_file import load_settings, settings_file
from curator_assets.storage.shards.source import require_tars


def show_plan() -> None:
    """Print what a refresh would make; nothing changes.

    Raises:
        SettingsError: the settings can't be read, or the instance is another project's.
        MissingSourceError: there is no source, or nothing in it.
    """
    settings = load_settings()
    with looked_at_instance(settings_file()) as instance:
        intake, work = planned(instance, settings)
        if not intake.removed:
            require_tars(settings.source, intake.n_bytes)
        print_plan(plan(GRAPH.stages, work), intake, work)


def planned(instance: dg.DagsterInstance, settings: Settings) -> tuple[Intake, Work]:
    """What lies in the source now, and stages to be asked about it; nothing changes."""
    intake = look(GRAPH, settings, InstanceRegistry(instance, settings))
    log = logging.getLogger(__name__)
    return intake, Work(settings, intake.shards, log, Purpose.PLAN)


def print_plan(plans: list[StagePlan], intake: Intake, work: Work) -> None:
    """A line a stage, and under it the reasons."""
    if warning := unread_warning(intake, GRAPH, work):
        say(warning)
    if intake.held_back:
        say(f"a refresh would hold back: {intake.held_back}")
    elif intake.removed:
        fate = "are erased" if work.settings.on_removed == "erase" else "go to trash/"
        say(f"{len(intake.removed):,} tars are gone: {named(intake.removed)}")
        say(f"their shards would be let go of; their curated tars {fate}")
    if intake.unregistered:
        say(f"{len(intake.unregistered):,} new shards: {named(intake.unregistered)}")
    print_not_taken(intake)
    if work.weights.model() is None:
        say(f"model weights: {UNDECIDED}")
    rows = [
        (p.stage.name, f"{p.n_fresh:,}", f"{len(p.stale):,}", f"{len(p.undecided):,}")
        for p in plans
    ]
    print_table(["asset", "fresh", "to make", "undecided"], rows)
    for found in plans:
        for reason, n in found.reasons.most_common():
            partitions = [p for p, why in found.stale.items() if why == reason and p]
            say(f"{found.stage.name}: {n:,} {reason}" + f": {named(partitions)}" * bool(partitions))
    undecided = {why for found in plans for why in found.undecided.values()}
    for why in sorted(undecided):
        say(why if why.startswith("undecided") else f"undecided: {why}")
    if not any(found.stale or found.undecided for found in plans):
        say("nothing to make: all is up to date")


def print_not_taken(intake: Intake) -> None:
    """The tars in the source that are left where they are, by reason."""
    for reason in dict.fromkeys(intake.not_taken.values()):
        tars = [f"{shard}.tar" for shard, why in intake.not_taken.items() if why == reason]
        say(f"{len(tars):,} not taken up yet: {named(tars)}: {reason}")
