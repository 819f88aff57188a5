"""`curate refresh`: make exactly what is stale or missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import dagster as dg

from curator_assets.cli.console import print_table, say
from curator_assets.cli.exit_status import FAILED, HELD_BACK, MEND, tell_error
from curator_assets.cli.instance import project_instance
from curator_assets.cli.plan import print_not_taken
from curator_assets.cli.progress_bar import ShownProgress, terminal_loggers
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS, reused_words
from curator_assets.defs.output.curation_report import CURATION_REPORT
from curator_assets.defs.output.deduplicated_shards import counts_by_verdict
from curator_assets.defs.output.verdicts import VERDICTS
from curator_assets.defs.stages import GRAPH
from curator_assets.engine.dagster.job import OP, Observer, refresh_job
from curator_assets.engine.intake import Intake
from curator_assets.engine.intake_words import why_removals_wait
from curator_assets.engine.making import failure_lines
from curator_assets.engine.refresh import Pass
from curator_assets.errors import UserError
from curator_assets.extras import require_installed
from curator_assets.settings import Settings
from curator_assets.settings_file import load_settings, settings_file, with_ray
from curator_assets.storage import layout
from curator_assets.storage.room import require_writable
from curator_assets.storage.shards.not_taken import read_not_taken
from curator_assets.storage.store import Store


def refresh(
    shards: Sequence[str], *, force: bool, allow_removals: bool = False, ray: str | None = None
) -> int:
    """Refresh the project of the settings in force, and tell what came of it.

    Args:
        shards: names and ranges that stages by shard are limited to; none: all.
        force: make all of it again.
        allow_removals: let go of all shards whose tars are gone, however many.
        ray: instead of `cluster.ray` of the settings.

    Returns:
        The exit status.

    Raises:
        UserError: nothing could be done: settings, source, output, an unknown shard.
    """
    settings = load_settings()
    if ray:
        settings = with_ray(settings, ray)
    require_installed("faiss", "faiss-gpu")
    require_writable(Store(settings.output))
    with project_instance(settings_file()) as instance:
        return shown_refresh(instance, settings, shards, force=force, allow_removals=allow_removals)


def shown_refresh(
    instance: dg.DagsterInstance,
    settings: Settings,
    shards: Sequence[str],
    *,
    force: bool,
    allow_removals: bool = False,
) -> int:
    """Run the job with its progress shown, and tell what came of it; the exit status."""
    with ShownProgress() as shown:
        run(
            instance,
            settings,
            force=force,
            shards=shards,
            allow_removals=allow_removals,
            observer=shown,
            loggers=terminal_loggers(),
        )
    return _tell(*shown.outcome())


def run(
    instance: dg.DagsterInstance,
    settings: Settings,
    *,
    force: bool = False,
    shards: Sequence[str] = (),
    allow_removals: bool = False,
    observer: Observer | None = None,
    loggers: Mapping[str, dg.LoggerDefinition] | None = None,
) -> bool:
    """Run the refresh job in this process, recorded in the instance; whether all was made.

    Raises:
        UserError: nothing could be done.
        OSError: nor where storage fails.
    """
    job = refresh_job(GRAPH, settings, observer, loggers)
    asked = {"force": force, "shards": list(shards), "allow_removals": allow_removals}
    config = {
        "ops": {OP: {"config": asked}},
        "loggers": {"console": {"config": {} if loggers else {"log_level": "INFO"}}},
    }
    try:
        job.execute_in_process(instance=instance, run_config=config)
    except dg.Failure as failure:
        if isinstance(failure.__cause__, UserError | OSError):
            raise failure.__cause__ from None
        return False  # partitions failed or removals wait; the observer knows which
    return True


def _tell(intake: Intake, result: Pass) -> int:
    """Print what came of a refresh; its exit status."""
    work = result.work
    if status := _tell_failures(result):
        if status == MEND:
            return status
    elif result.waiting:
        waiting = ", ".join(stage.name for stage in result.waiting)
        say(f"waiting for shards that were not chosen: {waiting}; `curate refresh` makes all")
    elif not any(result.made.values()):
        say("nothing to make: all is up to date")
    if counts := counts_by_verdict(work):
        _print_counts(counts)
    if embedded := result.made.get(IMAGE_EMBEDDINGS):
        say(reused_words(work, embedded))
    print_not_taken(read_not_taken(work.store))
    if counts:
        _print_places(result)
    if text := why_removals_wait(intake, work.settings):
        tell_error(text)
        return status or HELD_BACK
    return status


def _tell_failures(result: Pass) -> int:
    """Print what failed, but for what failed because something else did; the exit status."""
    all_of_it = [one for failed in result.failed.values() for one in failed]
    causes = {one for one in all_of_it if not one.lacks_input}
    told = set[str]()
    for stage, failed in result.failed.items():
        for line in failure_lines(one for one in failed if one in causes or not causes):
            if line not in told:
                tell_error(f"{stage.name}: {line}")
            told.add(line)
    others = [
        stage.name for stage, failed in result.failed.items() if not causes.intersection(failed)
    ]
    if causes and others and not result.work.made_shards(GRAPH.by_shard()[0]):
        say("nothing of the source could be embedded, so nothing else is made")
    elif causes and others:
        say(f"not made, for want of what they are made from: {', '.join(others)}")
    if any(one.is_of_all for one in causes):
        return MEND
    return FAILED if all_of_it else 0


def _print_counts(counts: Counter[str]) -> None:
    n = counts.total()
    rows = [(verdict, f"{counts[verdict]:,}", f"{counts[verdict] / n:.1%}") for verdict in VERDICTS]
    print_table(["verdict", "images", "share"], [*rows, ("samples read", f"{n:,}", "")])


def _print_places(result: Pass) -> None:
    work = result.work
    say(f"curated tars  {work.store.url('shards')}")
    if work.entry(CURATION_REPORT):
        is_old = CURATION_REPORT in result.waiting or CURATION_REPORT in result.failed
        say(f"report        {work.store.url(layout.REPORT)}" + ", as it was before" * is_old)
