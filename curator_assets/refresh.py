"""`python -m curator_assets.refresh`: make exactly what is stale, or say what that would be."""

import argparse
import logging
import os
import sys

import dagster as dg

from curator_assets.definitions import build_assets
from curator_assets.defs.refresh import AssetPlan, build_refresh_job, plan
from curator_assets.defs.stage import Work
from curator_assets.partitions import SHARDS_NAME, register_shards
from curator_assets.resources import resources
from curator_assets.settings import Settings, load_settings
from curator_assets.storage.arrivals import read_arrivals


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
    settings = load_settings()
    with dg.DagsterInstance.get() as instance:
        if arguments.dry_run:
            print_plan(plan(work_on(instance, settings)))
        else:
            sys.exit(0 if run(instance, settings, force=arguments.force) else 1)


def run(instance: dg.DagsterInstance, settings: Settings, *, force: bool) -> bool:
    """Run the refresh job in this process, recorded in the instance; whether it succeeded."""
    assets = [asset for asset in build_assets(settings) if isinstance(asset, dg.AssetsDefinition)]
    job = build_refresh_job(settings, assets)
    result = job.execute_in_process(
        instance=instance,
        resources=resources(settings),
        run_config={
            "ops": {"refresh_stale_partitions": {"config": {"force": force}}},
            "loggers": {"console": {"config": {"log_level": "INFO"}}},  # not a line a partition
        },
        raise_on_error=False,
    )
    return result.success


def work_on(instance: dg.DagsterInstance, settings: Settings) -> Work:
    """What stages need to be asked about the tars that lie in the source now."""
    made = resources(settings)
    storage, encoder = made["storage"], made["encoder"]
    register_shards(instance, storage.tars, storage.store, marker=settings.marker)
    listed, ranks = storage.tars.list_shards(), read_arrivals(storage.store)
    registered = instance.get_dynamic_partitions(SHARDS_NAME)
    shards = sorted((shard for shard in registered if shard in listed), key=ranks.__getitem__)
    return Work(settings, storage, encoder, tuple(shards), logging.getLogger(__name__))


def print_plan(plans: list[AssetPlan]) -> None:
    """A line an asset, and under it the reasons."""
    print(f"{'asset':<24}{'fresh':>8}{'to make':>9}{'undecided':>11}")
    for asset in plans:
        print(f"{asset.asset:<24}{asset.n_fresh:>8}{len(asset.stale):>9}{asset.n_undecided:>11}")
        for reason, n in asset.reasons.most_common():
            partitions = [str(p) for p, why in asset.stale.items() if why == reason and p]
            shown = ", ".join(partitions[:5]) + (" …" if len(partitions) > 5 else "")
            print(f"    {n} {reason}" + (f": {shown}" if shown else ""))
    if any(asset.n_undecided for asset in plans):
        print("undecided: looked at again once what they are made from is there")


if __name__ == "__main__":
    main()
