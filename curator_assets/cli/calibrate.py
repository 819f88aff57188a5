"""`curate calibrate`: which altered copies an eps finds in the user's own images."""

from __future__ import annotations

import dagster as dg

from curator_assets.cli.console import print_table, say
from curator_assets.cli.instance import project_instance
from curator_assets.cli.progress_bar import ShownProgress, terminal_loggers
from curator_assets.defs.deduplicate.eps_calibration import EPS_CALIBRATION
from curator_assets.defs.embed.image_embeddings import IMAGE_EMBEDDINGS
from curator_assets.defs.stages import GRAPH
from curator_assets.engine.dagster.assets import stage_asset
from curator_assets.engine.dagster.instance_partitions import InstanceRegistry
from curator_assets.engine.intake import look, register
from curator_assets.errors import UserError
from curator_assets.questions.sample_lookup import REFRESH
from curator_assets.questions.stored_work import stored_work
from curator_assets.settings import Settings
from curator_assets.settings_file import load_settings, settings_file
from curator_assets.storage import layout
from curator_assets.storage.calibration import EPS_GRID
from curator_assets.storage.store import Store
from curator_assets.storage.tables.parquet import read_table


def calibrate() -> None:
    """Make `eps_calibration` if it is stale, and print its table.

    Raises:
        UserError: nothing is embedded yet, or it can't be made; says why.
        SettingsError: the settings can't be read, or the instance is another project's.
    """
    settings = load_settings()
    if not stored_work(settings).made_shards(IMAGE_EMBEDDINGS):
        raise UserError(f"no image is embedded yet; make that first: {REFRESH}")
    with project_instance(settings_file()) as instance:
        make_calibration(instance, settings)
    _print_table(settings)


def make_calibration(instance: dg.DagsterInstance, settings: Settings) -> None:
    """Make `eps_calibration` if it is stale, with its progress shown.

    Raises:
        UserError: it can't be made; says why.
    """
    with ShownProgress() as shown:
        registry = InstanceRegistry(instance, settings)
        register(look(GRAPH, settings, registry), settings, registry)
        asset = stage_asset(EPS_CALIBRATION, GRAPH, settings, watch=shown)
        job = dg.define_asset_job("calibrate", selection=[asset])
        definitions = dg.Definitions(assets=[asset], jobs=[job], loggers=terminal_loggers())
        try:
            definitions.resolve_job_def("calibrate").execute_in_process(
                instance=instance, run_config={"loggers": {"console": {}}}
            )
        except dg.Failure as failure:
            raise UserError(str(failure.description)) from failure


def _print_table(settings: Settings) -> None:
    store = Store(settings.output)
    rows = [
        (
            row["transform"],
            f"{row['n']:,}",
            f"{row['median']:.4f}",
            f"{row['p5']:.4f}",
            *(f"{row[f'found_at_eps_{eps:g}']:.1%}" for eps in EPS_GRID),
        )
        for row in read_table(store, layout.CALIBRATION_TABLE).to_pylist()
    ]
    header = ["copies", "pairs", "median", "5 %", *(f"eps {eps:g}" for eps in EPS_GRID)]
    print_table(header, rows)
    say("median and 5 %: cosines of the copies; under an eps: the share of them that it finds")
    say(f"in force: eps {settings.duplicates.eps:g}, max_eps {settings.duplicates.max_eps:g}")
    say(f"plot  {store.url(layout.CALIBRATION_PLOT)}")
