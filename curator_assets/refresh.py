"""`python -m curator_assets.refresh`: make exactly what is stale, or say what that would be."""

import argparse
import logging
import os
import sys

import dagster as dg

from curator_assets.defs.stages import GRAPH
from curator_assets.engine.dagster.instance_partitions import InstanceRegistry
from curator_assets.engine.dagster.job import OP, refresh_job
from curator_assets.engine.intake import Intake, LostArrivalsError, look, unread_warning
from curator_assets.engine.plan import StagePlan, plan
from curator_assets.engine.work import Purpose, Work
from curator_assets.models.identity import UNDECIDED
from curator_assets.settings import Settings, SettingsError, load_settings
from curator_assets.storage.arrivals import ArrivalsDamagedError

_N_NAMED = 5


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m curator_assets.refresh",
        description="Make exactly what is stale or missing: new tars, changed settings, lost "
        "files. Run it as often as you like.",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be made and why, and stop"
    )
    parser.add_argument("--force", action="store_true", help="make everything again")
    arguments = parser.parse_args()
    if not os.environ.get("DAGSTER_HOME"):
        parser.error("set DAGSTER_HOME to the instance's folder, such as $PWD/.dagster")
    try:
        settings = load_settings()
        with dg.DagsterInstance.get() as instance:
            if arguments.dry_run:
                intake, work = planned(instance, settings)
                print_plan(plan(GRAPH.stages, work), intake, work)
            else:
                sys.exit(0 if run(instance, settings, force=arguments.force) else 1)
    except (SettingsError, OSError, LostArrivalsError, ArrivalsDamagedError) as error:
        sys.exit(str(error))


def run(instance: dg.DagsterInstance, settings: Settings, *, force: bool) -> bool:
    """Run the refresh job in this process, recorded in the instance; whether it succeeded."""
    result = refresh_job(GRAPH, settings).execute_in_process(
        instance=instance,
        run_config={
            "ops": {OP: {"config": {"force": force}}},
            "loggers": {"console": {"config": {"log_level": "INFO"}}},  # not a line a partition
        },
        raise_on_error=False,
    )
    return result.success


def planned(instance: dg.DagsterInstance, settings: Settings) -> tuple[Intake, Work]:
    """What lies in the source now, and stages to be asked about it; nothing changes."""
    intake = look(GRAPH, settings, InstanceRegistry(instance))
    log = logging.getLogger(__name__)
    return intake, Work(settings, intake.shards, log, Purpose.PLAN)


def print_plan(plans: list[StagePlan], intake: Intake, work: Work) -> None:
    """A line a stage, and under it the reasons."""
    if warning := unread_warning(intake, GRAPH, work):
        print(warning)
    if intake.removed:
        fate = "are erased" if work.settings.on_removed == "erase" else "go to trash/"
        print(f"{len(intake.removed)} tars are gone: {_named(intake.removed)}")
        print(f"their shards would be let go of; their curated tars {fate}")
    if intake.unregistered:
        print(f"{len(intake.unregistered)} new shards: {_named(intake.unregistered)}")
    if work.weights.model() is None:
        print(f"model weights: {UNDECIDED}")
    print(f"{'asset':<24}{'fresh':>8}{'to make':>9}{'undecided':>11}")
    for found in plans:
        n_stale, n_undecided = len(found.stale), len(found.undecided)
        print(f"{found.stage.name:<24}{found.n_fresh:>8}{n_stale:>9}{n_undecided:>11}")
        for reason, n in found.reasons.most_common():
            partitions = [p for p, why in found.stale.items() if why == reason and p]
            print(f"    {n} {reason}" + (f": {_named(partitions)}" if partitions else ""))
    undecided = {why for found in plans for why in found.undecided.values()}
    for why in sorted(undecided):
        print(why if why.startswith("undecided") else f"undecided: {why}")


def _named(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:_N_NAMED]) + (" …" if len(names) > _N_NAMED else "")


if __name__ == "__main__":
    main()
