"""The only place where things are wired."""

import logging
import os
import sys

import dagster as dg

from curator_assets.control_characters import escaped
from curator_assets.defs.source.tar_sensor import build_tar_sensor
from curator_assets.defs.stages import GRAPH
from curator_assets.engine.dagster.assets import external_asset, stage_asset
from curator_assets.engine.dagster.instance_partitions import InstanceRegistry
from curator_assets.engine.dagster.job import refresh_job
from curator_assets.engine.intake import look, register
from curator_assets.masking import masked
from curator_assets.project import home_in_force
from curator_assets.settings import Settings
from curator_assets.settings_file import SettingsError, load_settings, settings_file


def build_assets(settings: Settings) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets of the graph for these settings."""
    return [
        *(external_asset(external, settings) for external in GRAPH.externals()),
        *(stage_asset(stage, GRAPH, settings) for stage in GRAPH.stages),
    ]


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions for the settings file in force; new tars become partitions.

    Raises:
        SettingsError: the settings can't be read, or the instance is another project's.
    """
    try:
        settings = load_settings()
        home_in_force(settings_file())
    except SettingsError as error:
        # before the traceback of whoever loads this
        print(f"error: {escaped(str(error))}", file=sys.stderr)
        raise
    register_at_load(settings)
    refresh = refresh_job(GRAPH, settings)
    return dg.Definitions(
        assets=build_assets(settings),
        jobs=[refresh],
        sensors=[build_tar_sensor(settings, refresh)],
        executor=dg.in_process_executor,
    )


def register_at_load(settings: Settings) -> None:
    """Register new tars when definitions load, so that the command line knows their partitions.

    Only where an instance is set up (`DAGSTER_HOME`). A source that can't be listed is a warning:
    the UI has to come up all the same.
    """
    if not os.environ.get("DAGSTER_HOME"):
        return
    try:
        with dg.DagsterInstance.get() as instance:
            registry = InstanceRegistry(instance, settings)
            registry.regroup()
            register(look(GRAPH, settings, registry), settings, registry)
    except Exception as error:  # each kind of storage raises its own
        log = logging.getLogger(__name__)
        log.warning("no new shards registered: %s", escaped(masked(str(error))))
