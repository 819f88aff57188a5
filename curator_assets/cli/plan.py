"""`curate plan`: what a refresh would make, why, and at what cost."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import dagster as dg

from curator_assets.cli.codebook_lines import codebook_lines
from curator_assets.cli.console import print_table, say
from curator_assets.cli.forecast_lines import forecast_lines
from curator_assets.cli.instance import looked_at_instance
from curator_assets.cli.progress_bar import ShownProgress, terminal_log
from curator_assets.defs.stages import GRAPH
from curator_assets.engine.dagster.instance_partitions import InstanceRegistry
from curator_assets.engine.intake import Intake, look
from curator_assets.engine.intake_words import require_usable, unread_warning, why_removals_wait
from curator_assets.engine.plan import StagePlan, plan
from curator_assets.engine.progress import Watch
from curator_assets.engine.work import Purpose, Work
from curator_assets.errors import named
from curator_assets.models.identity import UNDECIDED
from curator_assets.number_words import counted_or_no
from curator_assets.questions.forecast.forecast import forecast
from curator_assets.settings import Settings
from curator_assets.settings_file import load_settings, settings_file
from curator_assets.storage.shards.not_taken import NotTaken, not_taken_lines
from curator_assets.storage.store import Store


def show_plan(*, exact: bool = False) -> None:
    """Print what a refresh would make, and what it would cost; nothing changes.

    Args:
        exact: read and hash the tars that would be embedded, to know instead of to guess.

    Raises:
        SettingsError: the settings can't be read, or the instance is another project's.
        MissingSourceError: there is no source, or nothing in it.
    """
    settings, shown = load_settings(), ShownProgress()
    with (
        looked_at_instance(settings_file()) as instance,
        Store(settings.output).pictured(),
    ):
        intake, work = planned(instance, settings, shown, terminal_log())
        if not intake.held_back and not intake.absent and not intake.unseen:
            require_usable(intake, settings)
        plans = plan(GRAPH.stages, work)
        print_plan(plans, intake, work)
        if intake.held_back:
            return
        with shown:
            cost = forecast(plans, work, intake.removed, exact=exact)
        if cost:
            say()
            for line in forecast_lines(cost):
                say(line)


def planned(
    instance: dg.DagsterInstance,
    settings: Settings,
    watch: Watch | None = None,
    log: logging.Logger | None = None,
) -> tuple[Intake, Work]:
    """What lies in the source now, and stages to be asked about it; nothing changes."""
    intake = look(GRAPH, settings, InstanceRegistry(instance, settings))
    work = Work(
        settings,
        intake.shards,
        log or logging.getLogger(__name__),
        Purpose.PLAN,
        n_bytes=intake.n_bytes,
        listed=intake.listed,
        absent=intake.absent.keys(),
        watch=watch or Watch(),
    )
    return intake, work


def print_plan(plans: list[StagePlan], intake: Intake, work: Work) -> None:
    """A line a stage, and under it the reasons."""
    if warning := unread_warning(intake, GRAPH, work):
        say(warning)
    if why := intake.held_back or why_removals_wait(intake, work.settings):
        say(f"a refresh would hold back: {why}")
    elif intake.removed:
        fate = "is erased" if work.settings.on_removed == "erase" else "goes to trash/"
        n = len(intake.removed)
        say(f"{counted_or_no(n, 'tar is', 'tars are')} gone: {named(intake.removed)}")
        whose = "its shard would be let go of; what was made of it"
        if n > 1:
            whose = "their shards would be let go of; what was made of them"
        say(f"{whose} {fate}")
    if intake.unregistered:
        new = counted_or_no(len(intake.unregistered), "new shard")
        say(f"{new}: {named(intake.unregistered)}")
    print_not_taken(intake.not_taken)
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
    for line in codebook_lines(plans, work):
        say(line)
    undecided = {why for found in plans for why in found.undecided.values()}
    for why in sorted(undecided):
        say(why if why.startswith("undecided") else f"undecided: {why}")
    if not any(found.stale or found.undecided for found in plans):
        say("nothing to make: all is up to date")


def print_not_taken(found: Mapping[str, NotTaken]) -> None:
    """What lies in the source and is left where it is, by reason."""
    for line in not_taken_lines(found):
        say(line)
